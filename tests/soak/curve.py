"""A quantity over time: its slope, and a line of blocks that shows it in a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

__all__ = ["slope", "sparkline"]

_LEVELS = "▁▂▃▄▅▆▇█"


def slope(points: Sequence[tuple[float, float]]) -> float:
    """How much the value changes in one unit of time, by least squares; 0 for fewer than two points."""
    if len(points) < 2:
        return 0.0
    middle_t = sum(time for time, _ in points) / len(points)
    middle_v = sum(value for _, value in points) / len(points)
    spread = sum((time - middle_t) ** 2 for time, _ in points)
    return sum((time - middle_t) * (value - middle_v) for time, value in points) / spread if spread else 0.0


def sparkline(values: Sequence[float], width: int = 60) -> str:
    """The values in at most `width` columns, each the largest of its part; the lowest block stands for the least."""
    if not values:
        return ""
    columns = min(width, len(values))
    edges = [index * len(values) // columns for index in range(columns + 1)]
    peaks = [max(values[start:end]) for start, end in pairwise(edges)]
    least, most = min(peaks), max(peaks)
    height = (most - least) or 1
    return "".join(_LEVELS[round((peak - least) / height * (len(_LEVELS) - 1))] for peak in peaks)
