from __future__ import annotations

import json
import re
from typing import Any

import plotly.graph_objects as go
import pytest

from blockstep_lab.compare.charts import charts_of
from blockstep_lab.compare.palette import LIGHT, WASH, looks_of
from blockstep_lab.compare.report.figures import Figure, chart_figure, course_figure
from blockstep_lab.compare.results import CompareResult
from support.compared import FILE_BYTES, grid, link, record
from support.reports import nasty, sample

UDP, CUBIC = "udp-w16-b1428", "tcp-cubic"
LOSSES = [link(0.0), link(1.0)]
GOODPUTS = {
    (UDP, LOSSES[0].id): 14e6,
    (UDP, LOSSES[1].id): 12e6,
    (CUBIC, LOSSES[0].id): 4e7,
    (CUBIC, LOSSES[1].id): 3e6,
}


def all_figures(result: CompareResult) -> list[Figure]:
    looks = looks_of(result.contenders)
    courses = [
        course_figure(each, result.contender(each.contender), looks[each.contender], result.method.file_bytes)
        for each in result.sequences
    ]
    return [chart_figure(chart, looks) for chart in charts_of(result)] + courses


def test_plotly_knows_every_property() -> None:
    for figure in all_figures(sample()):
        painted = re.sub(r'"--[a-z0-9-]+"', '"#123456"', json.dumps(figure))
        go.Figure(json.loads(painted))  # ValueError for what it does not know


def values(figure: Any, key: str = "") -> list[tuple[str, Any]]:
    """Every property of a figure, however deep."""
    if isinstance(figure, dict):
        return [pair for name, each in figure.items() for pair in values(each, name)]
    if isinstance(figure, list):
        return [pair for each in figure for pair in values(each, key)]
    return [(key, figure)]


def test_colours_are_names_of_the_palette_and_stand_where_the_page_looks_for_them() -> None:
    known = {*LIGHT, *(f"{name}{WASH}" for name in LIGHT if name[-1].isdigit())}
    for figure in all_figures(sample()):
        for key, value in values(figure):
            if key.endswith("color") or (isinstance(value, str) and value.startswith("--")):
                assert key.endswith("color")
                assert value in known


def test_no_text_is_markup_but_ours() -> None:
    for figure in all_figures(nasty()):
        for key, value in values(figure):
            if isinstance(value, str) and key != "meta":
                assert not set("<>") & set(re.sub(r"</?b>|<br>", "", value))


def measured(figure: Figure) -> dict[str, Figure]:
    return {trace["meta"]: trace for trace in figure["data"] if "error_y" in trace}


def test_marks_and_bars_are_medians_and_intervals() -> None:
    result = record(grid([UDP, CUBIC], LOSSES), GOODPUTS)
    (figure,) = all_figures(result)[:1]
    trace = measured(figure)[UDP]
    for place, where in enumerate(LOSSES):
        cell = result.cell(UDP, where.id)
        assert cell is not None
        goodput = cell.goodput_bit_s
        assert goodput is not None
        assert trace["y"][place] == goodput.median / 1e6
        assert trace["y"][place] + trace["error_y"]["array"][place] == pytest.approx(goodput.high / 1e6)
        assert trace["y"][place] - trace["error_y"]["arrayminus"][place] == pytest.approx(goodput.low / 1e6)
    zero, one_percent = trace["x"]
    assert zero < figure["layout"]["shapes"][0]["x0"] < one_percent == 0.01
    assert "95 % interval 14.0 Mbit/s to 14.1 Mbit/s" in trace["text"][0]


def test_the_room_between_two_laws_is_a_band_and_the_rate_of_the_link_has_its_name() -> None:
    (figure,) = all_figures(record(grid([UDP, CUBIC], LOSSES), GOODPUTS))[:1]
    assert [trace["fillcolor"] for trace in figure["data"] if trace.get("fill")] == ["--udp-0-wash"]
    assert [each["text"] for each in figure["layout"]["annotations"]] == ["link rate"]


def test_what_was_stopped_or_is_simulated_is_hollow() -> None:
    (figure,) = all_figures(record(grid([UDP, CUBIC], LOSSES), GOODPUTS, only={UDP: {"state": "max-time"}}))[:1]
    marks = {whose: trace["marker"]["symbol"] for whose, trace in measured(figure).items()}
    assert marks == {UDP: ["circle-open"] * 2, CUBIC: ["triangle-up"] * 2}
    assert "stopped by --max-time" in measured(figure)[UDP]["text"][0]


def test_a_course_has_its_points_in_megabytes_and_its_blocks_in_words() -> None:
    result = record(grid([UDP, CUBIC], LOSSES), GOODPUTS)
    looks = looks_of(result.contenders)
    course = next(each for each in result.sequences if each.contender == UDP)
    curve, resends = course_figure(course, result.contender(UDP), looks[UDP], FILE_BYTES)["data"]
    assert (curve["x"], curve["y"]) == ([0.02, 0.1], [0.001428, 1.0])
    assert curve["text"] == ["20.0 ms: 1,428 bytes, block 1", "100 ms: 1,000,000 bytes, block 701"]
    assert resends["x"] == []
