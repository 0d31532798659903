"""Jobs in forked processes, for transfers that mostly wait: no threads, no queue, one pipe for each."""

from __future__ import annotations

import contextlib
import multiprocessing
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection, wait
from typing import Any

_FORK = multiprocessing.get_context("fork")
_END_WITHIN_S = 2.0


def run_all(
    job: Callable[..., Any], arguments: Sequence[tuple[Any, ...]], *, at_once: int, limit_s: float
) -> list[Any]:
    """`job(*each)` for each of `arguments`, at most `at_once` at a time; the results in order.

    None for one that raised or took longer than `limit_s`: its process has been ended.
    """
    results: list[Any] = [None] * len(arguments)
    waiting = list(range(len(arguments)))[::-1]
    running: dict[Connection, tuple[int, Any, float]] = {}
    try:
        while waiting or running:
            while waiting and len(running) < at_once:
                number = waiting.pop()
                receiver, process = _begin(job, arguments[number])
                running[receiver] = (number, process, time.monotonic() + limit_s)
            _collect(running, results)
    finally:
        for receiver, (_number, process, _until) in running.items():
            _end(receiver, process)
    return results


def _begin(job: Callable[..., Any], arguments: tuple[Any, ...]) -> tuple[Connection, Any]:
    receiver, sender = _FORK.Pipe(duplex=False)
    process = _FORK.Process(target=_work, args=(sender, job, arguments))
    process.start()
    sender.close()
    return receiver, process


def _work(sender: Connection, job: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    sender.send(job(*arguments))


def _collect(running: dict[Connection, tuple[int, Any, float]], results: list[Any]) -> None:
    for ready in wait(list(running), timeout=0.05):
        assert isinstance(ready, Connection)
        number, process, _until = running.pop(ready)
        with contextlib.suppress(EOFError):
            results[number] = ready.recv()
        _end(ready, process)
    for receiver, (_number, process, until) in list(running.items()):
        if time.monotonic() > until:
            del running[receiver]
            _end(receiver, process)


def _end(receiver: Connection, process: Any) -> None:
    """The job has given its result, or will not."""
    receiver.close()
    process.join(_END_WITHIN_S)
    if process.is_alive():
        process.kill()
        process.join()
    process.close()
