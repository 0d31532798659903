"""Goes through what a campaign has pending: simulated runs in parallel processes, then the others one after another.

Decided here: measured runs never overlap, because two of them would share the processors and say something about that;
simulated ones may, since their clock is not ours. What is done is handed on at once, so an interruption loses at most
the runs that are under way. Not known here: what becomes of them.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from typing import Protocol

from blockstep_lab.compare.grid import Order
from blockstep_lab.compare.outcome import Observed
from blockstep_lab.compare.virtual import simulate

__all__ = ["Done", "Place", "measure_all", "simulate_all"]

Done = Callable[[Order, Observed], None]


class Place(Protocol):
    """Where a run can be made."""

    def run(self, order: Order) -> Observed:
        """Make it."""


def measure_all(orders: Sequence[Order], place: Place, begin: Callable[[Order], None], done: Done) -> None:
    """One after another; `begin` hears of each before it is made."""
    for order in orders:
        begin(order)
        done(order, place.run(order))


def simulate_all(orders: Sequence[Order], content: bytes, done: Done, *, jobs: int | None = None) -> None:
    """In `jobs` processes (None: one for each processor). `done` hears of runs as they end, in any order."""
    processes = min(jobs or len(os.sched_getaffinity(0)), len(orders))
    if processes < 2:
        for order in orders:
            done(order, simulate(order, content))
        return
    pool = ProcessPoolExecutor(processes, multiprocessing.get_context("fork"), _begin_worker, (content,))
    try:
        _hand_on({pool.submit(_simulate_shared, order): order for order in orders}, done)
    except BaseException:
        for process in multiprocessing.active_children():
            process.kill()  # a long simulation would keep us waiting for its end
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _hand_on(futures: dict[Future[Observed], Order], done: Done) -> None:
    waiting = set(futures)
    while waiting:
        ended, waiting = wait(waiting, return_when=FIRST_COMPLETED)
        for future in ended:
            done(futures[future], future.result())


# In a worker: the file, which is sent there once and not with every run.
_shared = b""


def _begin_worker(content: bytes) -> None:
    global _shared  # noqa: PLW0603 - a worker has no other place for what it begins with
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _shared = content


def _simulate_shared(order: Order) -> Observed:
    return simulate(order, _shared)
