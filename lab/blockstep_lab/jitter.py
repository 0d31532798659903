"""How long each packet is delayed.

Decided here: the shapes of tc-netem's delay distributions, as tables of 4,096 quantiles like netem's own, so that one
uniform number gives one delay. Every delayer takes exactly one number per call. Not known here: packets and queues.

A shape has the unit "jitters": the delay is `delay + jitter * shape`, cut at zero. With a correlation, that share of
the packets has the delay of the packet before (netem's running mean would narrow the distribution; see `chances`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from random import Random
from statistics import NormalDist

from blockstep_lab.conditions import Delay

__all__ = ["TABLE_SIZE", "Delayer", "delayer", "no_delay", "shape_table"]

Delayer = Callable[[], float]

TABLE_SIZE = 4096
# Netem's Pareto: shape 3 has mean 1.5; shifted to mean 0, stretched by 4/3 and cut at 4 jitters.
_PARETO_SHAPE, _PARETO_MEAN, _PARETO_STRETCH, _PARETO_CUT = 3.0, 1.5, 4 / 3, 4.0
# Netem's paretonormal: a quarter normal and three quarters Pareto, quantile by quantile.
_NORMAL_PART = 0.25


def no_delay() -> float:
    """The delay of a link without one; it draws nothing."""
    return 0.0


def delayer(delay: Delay, stream: Random) -> Delayer:
    """Delays in seconds, one for each call."""
    base_s, jitter_s = delay.delay_ns / 1e9, delay.jitter_ns / 1e9
    draw = stream.random
    if not jitter_s:
        return lambda: base_s
    number = _repeating(stream, delay.correlation / 100) if delay.correlation else draw
    if delay.distribution == "uniform":
        return lambda: max(0.0, base_s + jitter_s * (2 * number() - 1))
    delays = [max(0.0, base_s + jitter_s * shape) for shape in shape_table(delay.distribution)]
    return lambda: delays[int(number() * TABLE_SIZE)]


def _repeating(stream: Random, repeat: float) -> Delayer:
    draw = stream.random
    last = draw()

    def number() -> float:
        nonlocal last
        fresh = draw()
        if fresh >= repeat:
            last = min((fresh - repeat) / (1 - repeat), 1 - 2**-53)
        return last

    return number


@cache
def shape_table(distribution: str) -> tuple[float, ...]:
    """The quantiles of `normal`, `pareto` or `paretonormal` in jitters, ascending."""
    return tuple(_SHAPES[distribution]((index + 0.5) / TABLE_SIZE) for index in range(TABLE_SIZE))


def _pareto(number: float) -> float:
    quantile = math.pow(1 - number, -1 / _PARETO_SHAPE)
    return min((quantile - _PARETO_MEAN) * _PARETO_STRETCH, _PARETO_CUT)


def _paretonormal(number: float) -> float:
    return _NORMAL_PART * _normal(number) + (1 - _NORMAL_PART) * _pareto(number)


_normal = NormalDist().inv_cdf  # takes numbers strictly between 0 and 1
_SHAPES: dict[str, Callable[[float], float]] = {
    "normal": _normal,
    "pareto": _pareto,
    "paretonormal": _paretonormal,
}
