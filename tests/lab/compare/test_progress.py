from __future__ import annotations

from dataclasses import replace

import pytest

from blockstep_lab.compare.progress import Progress
from blockstep_lab.compare.results import VOID
from support.compared import FILE_BYTES, a_run, grid, link

ORDERS = list(grid(["udp-w1-b1428", "tcp-cubic"], [link(0.0, 10.0)], repeats=1).orders())


def test_the_bar_counts_expected_time_and_says_what_is_run(capsys: pytest.CaptureFixture[str]) -> None:
    lock_step, cubic = ORDERS
    with Progress(ORDERS, FILE_BYTES, 60.0, disable=False) as progress:
        progress.begin(cubic)
        progress.done(cubic, a_run(cubic, 1e6))
        progress.begin(lock_step)
        after_the_short_one = capsys.readouterr().err
        progress.done(lock_step, a_run(lock_step, 1e6, state=VOID))
    assert "run 2 of 2: UDP lock-step, loss 0 %, delay 10ms" in after_the_short_one
    assert "  5%|" in after_the_short_one or "  4%|" in after_the_short_one
    assert "1 not ok" in capsys.readouterr().err


def test_without_a_terminal_there_is_no_bar(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(ORDERS, FILE_BYTES, 60.0) as progress:
        progress.begin(ORDERS[0])
        progress.done(ORDERS[0], a_run(ORDERS[0], 1e6))
    assert capsys.readouterr().err == ""


def test_a_simulated_run_is_expected_to_be_short(capsys: pytest.CaptureFixture[str]) -> None:
    twin = replace(ORDERS[0], contender=replace(ORDERS[0].contender, simulated=True))
    with Progress([twin, *ORDERS], FILE_BYTES, 60.0, disable=False) as progress:
        progress.done(twin, a_run(twin, 1e6))
        progress.begin(ORDERS[0])
        assert "  3%|" in capsys.readouterr().err
