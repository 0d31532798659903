from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from blockstep_lab.compare.results import VOID, CompareResult
from blockstep_lab.compare.table import to_table
from support.compared import grid, link, record

UDP, CUBIC = "udp-w16-b1428", "tcp-cubic"
WHERE = link(1.0)
GOODPUTS = {(UDP, WHERE.id): 12e6, (CUBIC, WHERE.id): 3e6}


def test_the_table_has_a_block_for_each_link_with_aligned_rows() -> None:
    lines = to_table(record(grid([UDP, CUBIC], [WHERE]), GOODPUTS)).splitlines()
    assert lines[:4] == [
        "made-up bytes, 1,000,000 bytes, over network namespaces (tun, router SCHED_FIFO 50)",
        "3 repeats in turns, seed 7, 20 s each at most, took 12 s",
        "blockstep 0, Python 3, Linux, 2 x made-up",
        "",
    ]
    assert lines[4] == WHERE.label
    headings, udp, cubic = lines[5:8]
    assert udp.split()[:6] == ["UDP", "window", "16", "12.1", "Mbit/s", "12.0"]
    assert "gbn" in udp
    assert cubic.startswith("  TCP cubic")
    assert len(headings) == len(udp) == len(cubic)
    assert any(line.startswith("Of 1 link,") for line in lines)


def test_a_void_cell_shows_its_reason_and_no_number() -> None:
    of = grid([UDP, CUBIC], [WHERE])
    only = {UDP: {"state": VOID, "reason": "packets were late", "goodput_bit_s": None}}
    lines = to_table(record(of, GOODPUTS, only=only)).splitlines()
    assert "  UDP window 16  VOID: packets were late" in lines


def test_a_link_all_of_whose_cells_are_void_has_rows_too() -> None:
    of = grid([UDP], [WHERE])
    text = to_table(record(of, GOODPUTS, state=VOID, reason="late", goodput_bit_s=None))
    assert "  UDP window 16  VOID: late" in text.splitlines()


def test_what_is_unfinished_or_partly_valid_says_so() -> None:
    of = grid([UDP, CUBIC], [WHERE])
    result = record(of, {(UDP, WHERE.id): 12e6})
    runs = (replace(result.runs[0], state=VOID), *result.runs[1:])
    text = to_table(replace(result, runs=runs, cells=tuple(replace(each, valid=2) for each in result.cells)))
    assert "UNFINISHED: 3 of 6 runs" in text
    assert "2 of 3" in text


def test_the_places_are_named() -> None:
    result = record(grid([UDP, CUBIC], [WHERE]), GOODPUTS)
    host = to_table(replace(result, method=replace(result.method, where="host", host="192.0.2.7")))
    assert "over a real path to 192.0.2.7" in host
    virtual = to_table(replace(result, method=replace(result.method, where="simulation")))
    assert "virtual time, everything is simulated" in virtual


def test_the_sample_fits_a_wide_terminal() -> None:
    text = to_table(CompareResult.read(Path(__file__).with_name("sample.json")))
    assert max(map(len, text.splitlines())) < 180
    assert "VOID: right to left" in text
    assert "(max-time)" in text
    assert "FAILED: no progress" in text
