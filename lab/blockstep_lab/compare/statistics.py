"""Medians of a few repeats, and how far they may be trusted.

Decided here: the median, because one run that a busy machine has spoilt should not move a number, and a percentile
bootstrap for its 95 % interval (Efron, 1979), because nothing is known of how runs are distributed. Seeded: the same
runs give the same interval. With very few runs the interval is as wide as the runs are apart, which is the truth.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from blockstep.protocol.errors import LocalError
from blockstep_lab.compare.results import Interval

__all__ = ["bootstrap", "median", "relative_difference"]

_RESAMPLES = 1000
_LEVEL = 0.95


def median(values: Sequence[float]) -> float:
    """The middle one, or the mean of the two in the middle. LocalError for none."""
    if not values:
        raise LocalError("nothing has no median")
    ranked = sorted(values)
    middle = len(ranked) // 2
    return ranked[middle] if len(ranked) % 2 else (ranked[middle - 1] + ranked[middle]) / 2


def bootstrap(values: Sequence[float], seed: str = "bootstrap") -> Interval:
    """The median with its 95 % interval, from at least one value (else LocalError)."""
    middle = median(values)
    if len(values) == 1:
        return Interval(middle, middle, middle)
    draw = Random(seed).choices
    medians = sorted(median(draw(values, k=len(values))) for _ in range(_RESAMPLES))
    tail = round((1 - _LEVEL) / 2 * _RESAMPLES)
    return Interval(middle, medians[tail], medians[-1 - tail])


def relative_difference(one: float, other: float) -> float:
    """How far apart two positive numbers are, as a share of the larger; 0 where both are 0."""
    larger = max(abs(one), abs(other))
    return abs(one - other) / larger if larger else 0.0
