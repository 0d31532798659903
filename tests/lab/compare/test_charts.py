from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from blockstep_lab.compare.charts import AXES, charts_of, why_none
from blockstep_lab.compare.laws import LINK_RATE
from blockstep_lab.compare.results import MAX_TIME, VOID, CompareResult
from support.compared import grid, link, record

SAMPLE = Path(__file__).with_name("sample.json")
LOCKSTEP, UDP, CUBIC = "udp-w1-b1428", "udp-w16-b1428", "tcp-cubic"
CLEAN, LOSSY = link(0.0), link(1.0)
FOUR = {(UDP, CLEAN.id): 14e6, (UDP, LOSSY.id): 12e6, (CUBIC, CLEAN.id): 40e6, (CUBIC, LOSSY.id): 3e6}


def test_the_sample_has_a_chart_for_each_set_of_links_that_differ_in_one_thing() -> None:
    charts = charts_of(CompareResult.read(SAMPLE))
    assert [chart.axis for chart in charts] == ["loss"] * 2 + ["delay"] * 3 + ["windowsize"] * 7
    assert [chart.where for chart in charts[:3]] == [
        "Delay 5 ms each way, 50 Mbit/s",
        "Delay 25 ms each way, 50 Mbit/s",
        "Loss 0 % each way, 50 Mbit/s",
    ]
    assert len({chart.id for chart in charts}) == len(charts)


def test_points_are_the_cells_in_megabits_at_their_places() -> None:
    (chart,) = charts_of(record(grid([UDP, CUBIC], [LOSSY, CLEAN]), FOUR))
    assert chart.title == "Goodput against loss"
    udp, cubic = chart.series
    assert [(point.x, round(point.goodput.median)) for point in udp.points] == [(0.0, 14), (0.01, 12)]
    assert cubic.contender is not None
    assert cubic.contender.id == CUBIC
    assert cubic.points[1].goodput.low < cubic.points[1].goodput.median < cubic.points[1].goodput.high


def test_a_void_cell_is_no_point_and_one_that_was_stopped_says_so() -> None:
    of = grid([UDP, CUBIC], [CLEAN, LOSSY])
    void = record(of, FOUR, only={CUBIC: {"state": VOID, "goodput_bit_s": None}})
    assert [each.label for each in charts_of(void)[0].series] == ["UDP window 16"]
    stopped = record(of, FOUR, only={UDP: {"state": MAX_TIME}})
    assert [point.stopped for each in charts_of(stopped)[0].series for point in each.points] == [
        True,
        True,
        False,
        False,
    ]


def test_one_point_is_no_chart() -> None:
    assert charts_of(record(grid([UDP, CUBIC], [CLEAN, LOSSY]), {(UDP, CLEAN.id): 1e6, (CUBIC, LOSSY.id): 1e6})) == []


def test_links_that_differ_in_two_things_share_no_chart() -> None:
    other = link(1.0, delay_ms=25)
    assert charts_of(record(grid([UDP], [CLEAN, other]), {(UDP, CLEAN.id): 1e6, (UDP, other.id): 1e6})) == []


def test_links_with_more_than_loss_and_delay_are_not_put_among_those_without() -> None:
    result = record(grid([UDP, CUBIC], [CLEAN, LOSSY]), FOUR)
    links = tuple(replace(each, regular=not each.loss) for each in result.links)
    assert charts_of(replace(result, links=links)) == []


def test_windows_stand_beside_tcp_as_a_level_and_their_law_once() -> None:
    goodputs = {(LOCKSTEP, LOSSY.id): 1e6, (UDP, LOSSY.id): 12e6, (CUBIC, LOSSY.id): 3e6}
    (chart,) = charts_of(record(grid([LOCKSTEP, UDP, CUBIC], [LOSSY]), goodputs))
    assert [(each.label, [point.x for point in each.points]) for each in chart.series] == [
        ("UDP, 1428 byte blocks", [1.0, 16.0])
    ]
    assert [level.contender.id for level in chart.levels] == [CUBIC]
    band, rate = chart.laws
    assert band.high is not None
    assert all(low <= high * 1.0001 for low, high in zip(band.low, band.high, strict=True))
    assert (rate.label, rate.high) == (LINK_RATE, None)


def test_all_that_was_measured_lies_inside_the_axes() -> None:
    for chart in charts_of(CompareResult.read(SAMPLE)):
        for point in (point for each in chart.series for point in each.points):
            assert chart.x.low < chart.x.place(point.x) < chart.x.high
            assert chart.y.low < point.goodput.low <= point.goodput.high < chart.y.high


@pytest.mark.parametrize(
    ("axis", "told"),
    [
        ("loss", "there is only one loss here. Several are asked for as --loss 0,0.1,1,5."),
        ("delay", "there is only one delay here. Several are asked for as --delay 5ms,25ms."),
        ("windowsize", "there is only one windowsize here. Several are asked for as --windowsize 1,16,64."),
    ],
)
def test_where_there_is_no_chart_it_says_why(axis: str, told: str) -> None:
    result = record(grid([UDP, CUBIC], [LOSSY]), {(UDP, LOSSY.id): 12e6})
    assert charts_of(result) == []
    assert why_none(result, axis).endswith(told)


def test_other_reasons_for_no_chart() -> None:
    result = record(grid([LOCKSTEP, UDP], [CLEAN, LOSSY]), {(UDP, CLEAN.id): 12e6})
    for axis in ("loss", "windowsize"):
        assert "no contender has two valid points" in why_none(result, axis)
    host = replace(result, method=replace(result.method, where="host", host="192.0.2.7"))
    assert "the path is not ours" in why_none(host, "delay")
    assert len(AXES) == 3
