"""Callbacks at points of time, for one loop.

Knows no clock: `now` is always an argument, in seconds on whatever scale the caller keeps. A cancelled timer costs
nothing but its place in the heap until its time has come.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count

__all__ = ["Timer", "Timers"]


@dataclass(order=True, slots=True)
class Timer:
    """One callback to come. Equal times run in the order in which they were set."""

    when: float
    order: int
    callback: Callable[[], None] = field(compare=False)
    cancelled: bool = field(default=False, compare=False)

    def cancel(self) -> None:
        """Never run it. Allowed at any time, also twice and also after it has run."""
        self.cancelled = True


class Timers:
    """The timers of one loop."""

    def __init__(self) -> None:
        self._heap: list[Timer] = []
        self._order = count()

    def call_at(self, when: float, callback: Callable[[], None]) -> Timer:
        """Run `callback` in the first `run_due` at or after `when`."""
        timer = Timer(when, next(self._order), callback)
        heapq.heappush(self._heap, timer)
        return timer

    def timeout_s(self, now: float) -> float | None:
        """How long a loop may sleep: 0.0 if something is due, None if nothing is set."""
        while self._heap and self._heap[0].cancelled:
            heapq.heappop(self._heap)
        return max(0.0, self._heap[0].when - now) if self._heap else None

    def run_due(self, now: float) -> None:
        """Run what is due, earliest first. A timer set by one of these callbacks waits for the next call."""
        due = []
        while self._heap and self._heap[0].when <= now:
            due.append(heapq.heappop(self._heap))
        for timer in due:
            if not timer.cancelled:
                timer.callback()
