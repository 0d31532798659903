from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blockstep.protocol.errors import LocalError
from blockstep_lab.compare.results import Interval
from blockstep_lab.compare.statistics import bootstrap, median, relative_difference

NUMBERS = st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=12)


@pytest.mark.parametrize(
    ("values", "expected"), [([3.0], 3.0), ([1.0, 2.0], 1.5), ([9.0, 1.0, 2.0], 2.0), ([4.0, 1.0, 3.0, 2.0], 2.5)]
)
def test_the_median_is_the_middle(values: list[float], expected: float) -> None:
    assert median(values) == expected


def test_nothing_has_no_median() -> None:
    with pytest.raises(LocalError):
        median([])


def test_one_run_has_no_spread() -> None:
    assert bootstrap([5.0]) == Interval(5.0, 5.0, 5.0)


@given(NUMBERS)
def test_the_interval_holds_the_median_and_lies_within_the_runs(values: list[float]) -> None:
    found = bootstrap(values)
    assert min(values) <= found.low <= found.median <= found.high <= max(values)


def test_the_same_runs_give_the_same_interval() -> None:
    values = [Random(3).gauss(10, 1) for _ in range(9)]
    assert bootstrap(values) == bootstrap(list(values))


def test_95_of_100_intervals_hold_the_truth() -> None:
    """Of the median of a normal distribution, from 15 runs; a percentile bootstrap is known to be a little narrow."""
    draw = Random(11)
    held = 0
    for _ in range(200):
        found = bootstrap([draw.gauss(100, 10) for _ in range(15)])
        held += found.low <= 100 <= found.high
    assert 0.90 <= held / 200 <= 0.99


def test_difference_is_a_share_of_the_larger() -> None:
    assert relative_difference(90.0, 100.0) == relative_difference(100.0, 90.0) == pytest.approx(0.1)
    assert relative_difference(0.0, 0.0) == 0.0
