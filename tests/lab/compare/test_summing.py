from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from blockstep_lab.compare.grid import Order
from blockstep_lab.compare.results import FAILED, MAX_TIME, OK, VOID, Run
from blockstep_lab.compare.summing import cell_of, cells_of
from support.compared import FILE_BYTES, a_run, contender, grid, link

LINK = link()


def run(repeat: int, goodput: float = 1e6, **changes: Any) -> Run:
    return a_run(Order(contender("udp-w1-b1428"), LINK, repeat, "7"), goodput, **changes)


def void(repeat: int) -> Run:
    nothing: dict[str, Any] = {"goodput_bit_s": None, "total_s": None, "first_byte_s": None, "wire_bytes": None}
    return run(repeat, state=VOID, reason="late", **nothing)


def test_a_cell_has_the_medians_of_its_runs() -> None:
    runs = [run(0, 1e6, resends=1), run(1, 3e6, resends=5), run(2, 2e6, resends=3)]
    cell = cell_of(runs, {"law": 2.5e6})
    assert (cell.state, cell.reason, cell.runs, cell.valid) == (OK, None, 3, 3)
    assert cell.goodput_bit_s is not None
    assert (cell.goodput_bit_s.median, cell.goodput_bit_s.low, cell.goodput_bit_s.high) == (2e6, 1e6, 3e6)
    assert cell.resends is not None
    assert cell.resends.median == 3
    assert cell.overhead is not None
    assert cell.overhead.median == pytest.approx(0.1)
    assert cell.cpu_sender_s_per_gb is not None
    assert cell.cpu_sender_s_per_gb.median == pytest.approx(0.01 * 1e9 / FILE_BYTES)
    assert cell.theory == {"law": 2.5e6}


def test_a_void_run_is_in_no_number() -> None:
    cell = cell_of([run(0, 1e6), void(1), run(2, 1e6)], {})
    assert (cell.state, cell.runs, cell.valid) == (OK, 3, 2)
    assert cell.goodput_bit_s is not None
    assert cell.goodput_bit_s.median == 1e6


@pytest.mark.parametrize("runs", [[void(0)], [run(0), void(1)], [run(0), void(1), void(2)]])
def test_a_cell_that_is_not_mostly_valid_is_void_and_has_no_number(runs: list[Run]) -> None:
    cell = cell_of(runs, {})
    assert (cell.state, cell.reason) == (VOID, "late")
    assert cell.goodput_bit_s is None
    assert cell.total_s is None
    assert cell.resends is None


def test_a_cell_that_was_stopped_says_so_and_has_the_goodput_until_then() -> None:
    stopped = [run(each, 1e5, state=MAX_TIME, reason="stopped after 20 s") for each in range(2)]
    cell = cell_of([*stopped, run(2)], {})
    assert (cell.state, cell.reason) == (MAX_TIME, "stopped after 20 s")
    assert cell.goodput_bit_s is not None


def test_a_cell_that_mostly_failed_has_no_number() -> None:
    failed = [run(each, state=FAILED, reason="no answer", goodput_bit_s=None) for each in range(2)]
    cell = cell_of([*failed, run(2)], {})
    assert (cell.state, cell.reason) == (FAILED, "no answer")
    assert cell.goodput_bit_s is None


@pytest.mark.parametrize(("worse", "better"), [(FAILED, MAX_TIME), (MAX_TIME, OK), (FAILED, OK)])
def test_of_two_ends_that_are_as_frequent_the_worse_is_the_cells(worse: str, better: str) -> None:
    assert cell_of([run(0, state=better), run(1, state=worse)], {}).state == worse


def test_what_nobody_knows_is_none() -> None:
    cell = cell_of([run(0, wire_bytes=None, cpu_sender_s=None, resends=None)], {})
    assert (cell.overhead, cell.cpu_sender_s_per_gb, cell.resends) == (None, None, None)


def test_there_is_a_cell_for_each_pair_that_has_runs_link_by_link() -> None:
    of = grid(["udp-w1-b1428", "tcp-cubic"], [LINK, link(1.0)], repeats=1)
    runs = [a_run(order, 1e6) for order in of.orders()][:3]
    cells = cells_of(runs, of.contenders, of.links)
    assert [(cell.link, cell.contender) for cell in cells] == [
        (LINK.id, "udp-w1-b1428"),
        (LINK.id, "tcp-cubic"),
        (link(1.0).id, "udp-w1-b1428"),
    ]
    assert cells[0].theory["window x blksize / RTT"] > 0
    assert cells_of([replace(runs[0], resends=2)], of.contenders, of.links)[0].resends is not None
