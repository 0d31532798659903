"""How much longer this process sleeps than it asked to, learned from its own sleeps.

Decided here: how early to ask to be woken. A processor that has gone to rest takes a while to come back, in a virtual
machine some hundred microseconds; one that is busy hardly any. Asking early by the usual oversleep takes the mean of
the error away, and what is left until the time itself is waited for awake, which costs little because it is short. Not
known here: clocks.
"""

from __future__ import annotations

__all__ = ["Oversleep"]

_MOST_S = 0.0003
_WEIGHT = 1 / 16
# Being awake a little early costs processor time, being late costs truth.
_MARGIN = 1.25


class Oversleep:
    """`early_s` is how much sooner than needed to ask for the end of a sleep, in seconds; at most 0.3 ms."""

    __slots__ = ("_usual_s", "early_s")

    def __init__(self) -> None:
        self._usual_s = 0.0
        self.early_s = 0.0

    def add(self, slept_s: float, asked_s: float) -> None:
        """Learns from one sleep that nothing but its time has ended."""
        over_s = min(max(slept_s - asked_s, 0.0), _MOST_S)
        self._usual_s += (over_s - self._usual_s) * _WEIGHT
        self.early_s = min(self._usual_s * _MARGIN, _MOST_S)
