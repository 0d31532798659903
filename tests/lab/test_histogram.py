from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blockstep_lab.histogram import Histogram


def test_an_empty_histogram_has_no_median() -> None:
    assert Histogram().quantile(0.5) is None


@given(st.lists(st.floats(0, 90_000), min_size=1, max_size=50), st.floats(0.01, 1))
def test_a_quantile_is_at_most_three_percent_off(times: list[float], share: float) -> None:
    histogram = Histogram()
    for time_s in times:
        histogram.add(time_s)
    exact = sorted(times)[max(1, round(share * len(times))) - 1]
    assert histogram.quantile(share) == pytest.approx(exact, rel=0.03, abs=2e-6)


def test_nothing_is_too_small_or_too_large() -> None:
    histogram = Histogram()
    for time_s in (-1.0, 0.0, 1e9):
        histogram.add(time_s)
    assert histogram.total == 3
    assert histogram.quantile(0.5) == 0.0
    assert (histogram.quantile(1.0) or 0) > 86_400
