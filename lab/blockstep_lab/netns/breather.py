"""Short rests of our own choice, before the kernel makes long ones.

Decided here: when a router that is always busy sleeps a moment. Linux lets real-time processes have a processor for
95 % of each second and then takes it away for the rest (sched(7), sched_rt_runtime_us): 50 ms, in which thousands of
packets pile up. A rest of 0.8 ms in every 10 ms is more than those 5 %, and no packet is late by more. Who sleeps
anyway, because there is nothing to do, needs no rest. Not known here: clocks.
"""

from __future__ import annotations

__all__ = ["Breather"]

_WINDOW_S = 0.010
_REST_S = 0.0008


class Breather:
    """Told of every sleep by `add`, asked by `maybe_rest_s` how long to rest now."""

    __slots__ = ("_since", "_slept_s")

    def __init__(self, now: float) -> None:
        self._since = now
        self._slept_s = 0.0

    def add(self, slept_s: float) -> None:
        """A sleep has ended."""
        self._slept_s += slept_s

    def maybe_rest_s(self, now: float) -> float:
        """How long to sleep now, in seconds; mostly 0."""
        if now - self._since < _WINDOW_S:
            return 0.0
        missing_s = _REST_S - self._slept_s
        self._since, self._slept_s = now, 0.0
        return max(missing_s, 0.0)
