from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from blockstep_lab.compare.grid import local_link
from blockstep_lab.compare.results import FAILED, MAX_TIME, OK, VOID, CompareResult
from blockstep_lab.compare.wording import findings_of, rate_text, summary_of, time_text
from support.compared import grid, link, record

CLEAN, LOSSY = link(), link(1.0)
UDP, CUBIC, BBR, RENO = "udp-w16-b1428", "tcp-cubic", "tcp-bbr", "tcp-reno"


def told(goodputs: dict[str, float], where: Any = CLEAN, **changes: Any) -> CompareResult:
    return record(
        grid(list(goodputs), [where]), {(name, where.id): value for name, value in goodputs.items()}, **changes
    )


def text_of(result: CompareResult, kind: str) -> str:
    return " ".join(finding.text for finding in result.findings if finding.kind == kind)


def test_where_tcp_is_ahead_without_loss_the_round_trip_is_to_blame() -> None:
    result = told({UDP: 13e6, CUBIC: 47e6})
    assert text_of(result, "tcp") == (
        "loss 0 %, delay 5ms, 50mbit: TCP is ahead, TCP cubic 47.2 Mbit/s against UDP window 16 13.1 Mbit/s. "
        "UDP sends 16 blocks and then waits for the ACK, which allows 13.3 Mbit/s at most; "
        "TCP's window grows until the link is full."
    )
    assert result.summary == (
        "Of 1 link, TCP is ahead on 1 and UDP on 0. TCP's largest lead is 3.6 times, on loss 0 %, delay 5ms, 50mbit: "
        "TCP cubic 47.2 Mbit/s against UDP window 16 13.1 Mbit/s."
    )


def test_where_udp_is_ahead_under_loss_the_congestion_control_is_to_blame() -> None:
    result = told({UDP: 12e6, CUBIC: 3e6}, LOSSY)
    assert "UDP is ahead, UDP window 16 12.1 Mbit/s against TCP cubic 3.01 Mbit/s" in text_of(result, "udp")
    assert "TCP cubic cuts its window by 30 % for every loss; UDP keeps its window" in text_of(result, "udp")
    assert "UDP's largest lead is 4.0 times" in result.summary


def test_reno_halves_its_window() -> None:
    assert "TCP reno halves its window for every loss" in text_of(told({UDP: 12e6, RENO: 3e6}, LOSSY), "udp")


def test_bbr_is_ahead_because_it_does_not_take_a_loss_for_congestion_and_cubic_is_still_behind_udp() -> None:
    result = told({UDP: 12e6, CUBIC: 3e6, BBR: 45e6}, LOSSY)
    text = text_of(result, "tcp")
    assert "TCP bbr 45.2 Mbit/s against UDP window 16 12.1 Mbit/s" in text
    assert "bbr sends at the rate that it has measured and does not take a loss for congestion." in text
    assert "UDP is ahead of TCP cubic (3.01 Mbit/s), which cuts its window by 30 % for every loss." in text
    assert "the congestion control decides what TCP is worth: TCP bbr 45.2 Mbit/s, TCP cubic 3.01 Mbit/s" in text_of(
        result, "theory"
    )


def test_several_that_are_behind_are_all_named() -> None:
    text = text_of(told({UDP: 12e6, CUBIC: 3e6, RENO: 2e6, BBR: 45e6}, LOSSY), "tcp")
    assert "UDP is ahead of TCP cubic (3.01 Mbit/s) and TCP reno (2.01 Mbit/s)." in text


def test_blocks_that_went_out_again_are_named_when_they_are_many() -> None:
    many = told({UDP: 12e6, BBR: 45e6}, LOSSY, only={UDP: {"resends": 300}})
    assert "costs UDP the rest of its window: 300 of 700 blocks went out again" in text_of(many, "tcp")
    few = told({UDP: 12e6, BBR: 45e6}, LOSSY, only={UDP: {"resends": 7}})
    assert "went out again" not in text_of(few, "tcp")


def test_a_window_that_fills_the_link_is_not_blamed() -> None:
    result = told({"udp-w64-b1428": 28e6, CUBIC: 47e6}, link(0.0, 1.0))
    assert "waits for the ACK" not in text_of(result, "tcp")


def test_a_short_file_is_over_before_slow_start_is() -> None:
    text = text_of(told({"udp-w64-b1428": 45e6, CUBIC: 20e6}, link(0.0, 50.0)), "udp")
    assert "1 MB are over after 4 round trips, most of them TCP's connection and slow start." in text


def test_no_cause_is_named_where_none_shows() -> None:
    text = text_of(told({"udp-w64-b1428": 28e6, CUBIC: 15e6}), "udp")
    assert text.endswith("against TCP cubic 15.1 Mbit/s.")


@pytest.mark.parametrize("other", [12.5e6, 12.05e6])
def test_a_small_difference_is_none(other: float) -> None:
    result = told({UDP: 12e6, CUBIC: other})
    assert "which is level" in text_of(result, "even")
    assert "on 1 they are level" in result.summary


def test_intervals_that_touch_are_level_however_far_apart_the_medians() -> None:
    of = grid([UDP, CUBIC], [CLEAN])
    result = record(of, {(UDP, CLEAN.id): 12e6, (CUBIC, CLEAN.id): 20e6})
    cells = tuple(
        replace(cell, goodput_bit_s=replace(cell.goodput_bit_s, low=1e6, high=40e6)) if cell.goodput_bit_s else cell
        for cell in result.cells
    )
    assert "they are level" in summary_of(replace(result, cells=cells))


def test_the_best_window_is_compared_with_the_best_congestion_control() -> None:
    result = told({"udp-w1-b1428": 1e6, UDP: 12e6, CUBIC: 3e6, RENO: 2e6}, LOSSY)
    assert "UDP window 16 12.1 Mbit/s against TCP cubic 3.01 Mbit/s" in result.summary


def test_nothing_is_said_of_a_link_where_one_side_is_void() -> None:
    result = told({UDP: 12e6, CUBIC: 3e6}, only={CUBIC: {"state": VOID, "reason": "late", "goodput_bit_s": None}})
    assert result.summary.startswith("There is no link on which both UDP and TCP have a valid result")
    assert not text_of(result, "udp")
    assert "1 cell is void, because the link's own checks failed: TCP cubic on loss 0 %" in text_of(result, "caution")
    assert "3.0" not in text_of(result, "caution")


@pytest.mark.parametrize(
    ("state", "words"), [(MAX_TIME, "stopped by --max-time"), (FAILED, "without the file"), (VOID, "void")]
)
def test_cells_that_are_not_well_are_named_three_of_them(state: str, words: str) -> None:
    links = [link(float(each)) for each in range(5)]
    of = grid([UDP], links)
    result = record(of, {(UDP, each.id): 1e6 for each in links}, state=state)
    text = text_of(result, "caution")
    assert f"5 cells are {words}" in text
    assert text.count("UDP window 16 on loss") == 3
    assert "and 2 more" in text


def test_laws_are_held_against_the_cells_that_they_speak_of() -> None:
    of = grid([UDP, RENO], [CLEAN, LOSSY])
    goodputs = {(UDP, CLEAN.id): 13e6, (UDP, LOSSY.id): 6e6, (RENO, CLEAN.id): 40e6, (RENO, LOSSY.id): 12e6}
    laws = [each.text for each in record(of, goodputs).findings if each.kind == "theory" and each.link is None]
    assert [re.match(r"[^:]*", text).group() for text in laws] == [  # type: ignore[union-attr]
        "Window x blksize / RTT, without loss",
        "Go-back-N, under loss",
        "Go-back-N with early blocks kept, under loss",
        "Mathis' law for TCP reno",
        "The link's rate, TCP without loss",
    ]
    assert "is 0.98 in 1 cell (0.98 to 0.98), 1 within 5%" in laws[0]
    assert "is 0.50 in 1 cell (0.50 to 0.50), 0 within 5%" in laws[1]


def test_ceilings_are_told_apart_from_links() -> None:
    of = grid([UDP, CUBIC, "unix"], [CLEAN, local_link()])
    result = record(of, {(UDP, CLEAN.id): 12e6, (CUBIC, CLEAN.id): 40e6, ("unix", "local"): 4e9})
    assert result.summary.startswith("Of 1 link,")
    assert "Without a link this machine moves the file with UNIX socket 4.02 Gbit/s." in text_of(result, "theory")


def test_what_is_missing_simulated_wide_or_seldom_repeated_is_said() -> None:
    of = grid([UDP, CUBIC], [CLEAN], repeats=2)
    result = record(of, {(UDP, CLEAN.id): 12e6})
    simulated = tuple(replace(each, simulated=True) for each in result.contenders)
    wide = tuple(
        replace(cell, goodput_bit_s=replace(cell.goodput_bit_s, high=3e7)) if cell.goodput_bit_s else cell
        for cell in result.cells
    )
    texts = [each.text for each in findings_of(replace(result, contenders=simulated, cells=wide))]
    assert "2 of 4 runs are done; the rest is missing." in texts
    assert any(text.startswith("Rows that say so are simulated") for text in texts)
    assert any("interval wider than a fifth" in text for text in texts)
    assert "Fewer than 3 repeats: the intervals mean little." in texts


def test_the_sample_reads_well() -> None:
    result = CompareResult.read(Path(__file__).with_name("sample.json"))
    texts = [summary_of(result), *(finding.text for finding in findings_of(result))]
    for text in texts:
        assert text[0].isupper() or text[0].isdigit() or text.startswith(("loss", "lte"))
        assert text.endswith(".")
        assert "  " not in text
        assert "nan" not in text


@pytest.mark.parametrize(
    ("bit_s", "expected"),
    [
        (0.0, "0.00 bit/s"),
        (999.0, "999 bit/s"),
        (1234.0, "1.23 kbit/s"),
        (46.5e6, "46.5 Mbit/s"),
        (1e12, "1,000 Gbit/s"),
    ],
)
def test_rates_have_three_digits(bit_s: float, expected: str) -> None:
    assert rate_text(bit_s) == expected


@pytest.mark.parametrize(
    ("time_s", "expected"), [(0.0, "0.00 ms"), (0.0125, "12.5 ms"), (1.25, "1.25 s"), (120.0, "120 s")]
)
def test_times_have_three_digits(time_s: float, expected: str) -> None:
    assert time_text(time_s) == expected


def test_a_good_record_has_only_good_states() -> None:
    assert {cell.state for cell in told({UDP: 12e6, CUBIC: 40e6}).cells} == {OK}
