"""Jobs in processes of their own: results in order, no result for one that fails or hangs, nobody left behind."""

from __future__ import annotations

import multiprocessing
import os
import signal

from parallel import run_all


def job(number: int) -> int:
    if number == 2:
        os._exit(3)
    if number == 3:
        signal.pause()
    return number * number


def test_results_come_in_order_and_who_hangs_is_ended() -> None:
    assert run_all(job, [(1,), (2,), (3,), (4,), (5,)], at_once=3, limit_s=0.5) == [1, None, None, 16, 25]
    assert multiprocessing.active_children() == []
