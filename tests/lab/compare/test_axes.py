from __future__ import annotations

import itertools
import math

from hypothesis import given
from hypothesis import strategies as st

from blockstep_lab.compare.axes import goodput_axis, value_axis

POSITIVE = st.floats(1e-6, 1e6)


def plain(value: float) -> str:
    return f"{value:g}"


@given(st.lists(POSITIVE | st.just(0.0), min_size=1, max_size=40).filter(any), st.lists(POSITIVE, max_size=5))
def test_everything_has_its_place_in_order_and_ticks_do_not_touch(measured: list[float], lines: list[float]) -> None:
    axis = value_axis("x", measured, lines, plain)
    assert 0 < axis.low < axis.high
    places = [axis.place(value) for value in sorted({*measured, *lines})]
    assert places == sorted(set(places))
    assert axis.low < places[0]
    assert places[-1] < axis.high
    width = math.log10(axis.high / axis.low)
    for (one, _), (other, _) in itertools.pairwise(axis.ticks):
        assert math.log10(other / one) > 0.08 * width


def test_ticks_are_where_something_was_measured() -> None:
    axis = value_axis("loss", [0.01, 0.03], [0.0005, 0.045], plain)
    assert axis.ticks == ((0.01, "0.01"), (0.03, "0.03"))
    assert (axis.zero_at, axis.break_at) == (None, None)


def test_more_ticks_fill_the_room_that_is_left() -> None:
    axis = value_axis("window", [1, 16, 64], [1, 256], plain, more_ticks=[2, 4, 8, 60, 256])
    assert [text for _, text in axis.ticks] == ["1", "2", "4", "8", "16", "64", "256"]


def test_a_zero_stands_left_of_a_break() -> None:
    axis = value_axis("loss", [0, 0.01], [0.0005], plain)
    assert axis.zero_at is not None
    assert axis.break_at is not None
    assert axis.low < axis.zero_at < axis.break_at < 0.0005
    assert axis.ticks[0] == (axis.zero_at, "0")
    assert axis.place(0) == axis.zero_at
    assert axis.place(0.01) == 0.01


@given(st.lists(POSITIVE, min_size=1, max_size=20))
def test_goodputs_lie_inside_and_have_ticks(values: list[float]) -> None:
    axis = goodput_axis(values)
    assert axis.low < min(values) <= max(values) < axis.high
    assert len(axis.ticks) >= 2
    assert all(axis.low <= at <= axis.high for at, _ in axis.ticks)


def test_goodputs_near_each_other_are_not_blown_up() -> None:
    axis = goodput_axis([41.0, 44.0])
    assert axis.high / axis.low > 6
    assert [text for _, text in goodput_axis([0.2, 50]).ticks] == ["0.2", "0.5", "1", "2", "5", "10", "20", "50"]
    assert [text for _, text in goodput_axis([0.02, 5000]).ticks] == ["0.1", "1", "10", "100", "1,000", "10,000"]
