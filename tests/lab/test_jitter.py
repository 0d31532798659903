"""One number for each delay, and tables that are what they say; means and tails are in test_statistics."""

from __future__ import annotations

from random import Random
from statistics import fmean

import pytest

from blockstep_lab.conditions import Conditions, Delay
from blockstep_lab.jitter import TABLE_SIZE, delayer, no_delay, shape_table


class Steps(Random):
    """Gives the same numbers over and over."""

    def __init__(self, *numbers: float) -> None:
        super().__init__()
        self.numbers = numbers
        self.drawn = 0

    def random(self) -> float:
        self.drawn += 1
        return self.numbers[(self.drawn - 1) % len(self.numbers)]


def delay_of(words: str) -> Delay:
    delay = Conditions.parse(words).delay
    assert delay is not None
    return delay


def test_a_delay_without_jitter_draws_nothing() -> None:
    stream = Steps(0.5)
    assert delayer(delay_of("delay 20ms"), stream)() == 0.02
    assert (stream.drawn, no_delay()) == (0, 0.0)


@pytest.mark.parametrize("distribution", ["uniform", "normal", "pareto", "paretonormal"])
def test_each_delay_takes_one_number(distribution: str) -> None:
    stream = Steps(0.0, 0.25, 0.5, 1 - 2**-53)
    delayed = delayer(delay_of(f"delay 20ms 5ms distribution {distribution}"), stream)
    delays = [delayed() for _ in range(4)]
    assert stream.drawn == 4
    assert delays == sorted(delays)
    assert delays[0] >= 0


def test_a_correlated_delay_repeats_the_one_before() -> None:
    # the first number is where it begins; below a quarter it repeats, above that the rest is stretched to the whole
    delayed = delayer(delay_of("delay 20ms 4ms 25%"), Steps(0.5, 0.2, 0.25, 0.625))
    assert [delayed() for _ in range(3)] == pytest.approx([0.02, 0.016, 0.02])


@pytest.mark.parametrize("distribution", ["normal", "pareto", "paretonormal"])
def test_a_shape_is_ascending_around_nothing(distribution: str) -> None:
    table = shape_table(distribution)
    assert len(table) == TABLE_SIZE
    assert list(table) == sorted(table)
    assert abs(fmean(table)) < 0.05
