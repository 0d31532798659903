"""Where a value stands on an axis, and which values are written there.

Decided here: all axes are logarithmic, because losses, delays, windows and goodputs span decades; a value of zero
stands left of a break, well apart from the smallest other one; ticks are where something was measured, and those that
would touch are left out. Not known here: what is measured, and who draws.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

__all__ = ["Axis", "goodput_axis", "value_axis"]

_LEAST_DECADES = 0.8
_MARGIN = 0.05
# Share of the width of all else by which a zero stands apart.
_ZERO_APART = 0.2
# Two ticks whose distance is a smaller share of the axis would touch at 400 pixels.
_TICKS_APART = 0.085
_MANY_DECADES = 3.0


@dataclass(frozen=True, slots=True)
class Axis:
    """A logarithmic axis from `low` to `high`. `ticks` are (position, text).

    `zero_at` is where a zero stands, `break_at` the gap between it and all else; both None where there is no zero.
    """

    title: str
    low: float
    high: float
    ticks: tuple[tuple[float, str], ...]
    zero_at: float | None = None
    break_at: float | None = None

    def place(self, value: float) -> float:
        """Where the value is to be drawn, in units of the axis."""
        return value if value > 0 or self.zero_at is None else self.zero_at


def value_axis(
    title: str,
    measured: Iterable[float],
    lines: Iterable[float],
    text: Callable[[float], str],
    *,
    more_ticks: Iterable[float] = (),
) -> Axis:
    """An axis for what was varied. `lines` have to fit too; `more_ticks` are for where there is room."""
    values = sorted(set(measured))
    positive = [value for value in [*values, *lines] if value > 0]
    low, high = min(positive), max(positive)
    span = max(math.log10(high / low), _LEAST_DECADES)
    apart = 10 ** (_ZERO_APART * span)
    zero_at, break_at = (low / apart, low / apart**0.5) if 0 in values else (None, None)
    first, last = _padded(zero_at or low, high)
    wanted = [(value or zero_at or low, text(value)) for value in (*values, *more_ticks)]
    return Axis(title, first, last, _apart(wanted, first, last), zero_at, break_at)


def goodput_axis(values: Iterable[float]) -> Axis:
    """Megabits per second, for values of the same unit, all of them positive."""
    found = list(values)
    low, high = _padded(min(found), max(found))
    high *= high / max(found)  # room for a word above the uppermost line
    decades = math.log10(high / low)
    if decades < _LEAST_DECADES:
        high *= 10 ** ((_LEAST_DECADES - decades) / 2)
        low /= 10 ** ((_LEAST_DECADES - decades) / 2)
    steps = (1,) if decades > _MANY_DECADES else (1, 2, 5)
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    ticks = [step * 10.0**power for power in range(first, last + 1) for step in steps]
    return Axis("goodput, Mbit/s", low, high, tuple((tick, f"{tick:,.6g}") for tick in ticks if low <= tick <= high))


def _padded(low: float, high: float) -> tuple[float, float]:
    pad = 10 ** (_MARGIN * max(math.log10(high / low), _LEAST_DECADES))
    return low / pad, high * pad


def _apart(ticks: Sequence[tuple[float, str]], low: float, high: float) -> tuple[tuple[float, str], ...]:
    """Those that do not touch one that came before."""
    least = _TICKS_APART * math.log10(high / low)
    kept: list[tuple[float, str]] = []
    for at, text in ticks:
        if all(abs(math.log10(at / other)) >= least for other, _ in kept):
            kept.append((at, text))
    return tuple(sorted(kept))
