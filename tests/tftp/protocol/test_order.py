from __future__ import annotations

import math

import pytest

from blockstep.protocol.order import Order
from blockstep.protocol.timer import ResendTimer

TRIP_S = 0.1


def order(trip_s: float | None = TRIP_S) -> Order:
    timer = ResendTimer()
    if trip_s is not None:
        timer.sample(trip_s)
    return Order(timer)


def test_on_a_path_in_order_a_gap_is_asked_for_at_once() -> None:
    path = order()
    assert path.gap_opened(5.0) == 5.0
    path.acknowledged(5.0, asking=True)
    assert path.ask_again_at(5.0) == math.inf


def test_what_comes_after_a_round_trip_may_have_been_sent_again() -> None:
    path = order()
    path.gap_opened(5.0)
    path.acknowledged(5.0, asking=True)
    path.came_late(5.0 + TRIP_S)
    assert path.patience_s == 0


@pytest.mark.parametrize(("late_s", "patience_s"), [(0.001, TRIP_S / 4), (0.04, 0.06), (0.07, TRIP_S)])
def test_what_comes_sooner_was_late_and_is_waited_for_the_next_time(late_s: float, patience_s: float) -> None:
    path = order()
    path.gap_opened(5.0)
    path.acknowledged(5.0, asking=True)
    path.came_late(5.0 + late_s)
    assert path.patience_s == pytest.approx(patience_s)
    path.acknowledged(5.2, asking=False)
    assert path.gap_opened(6.0) == pytest.approx(6.0 + patience_s)


def test_two_questions_are_never_less_than_a_round_trip_apart() -> None:
    path = order()
    path.gap_opened(5.0)
    path.acknowledged(5.0, asking=True)
    assert path.gap_opened(5.01) == math.inf
    assert path.gap_opened(5.0 + TRIP_S) == 5.0 + TRIP_S


def test_where_packets_overtake_it_asks_again_after_a_turn_and_a_half() -> None:
    path = order()
    path.acknowledged(4.8, asking=False)
    path.gap_opened(4.9)
    path.came_late(4.95)
    path.acknowledged(5.0, asking=False)  # a turn of 0.2 s
    path.acknowledged(5.1, asking=True)
    assert path.ask_again_at(5.1) == pytest.approx(5.1 + 0.3 + path.patience_s)
    assert path.gap_opened(5.11) == pytest.approx(path.ask_again_at(5.1))


def test_windows_in_order_take_the_wait_away_again() -> None:
    path = order()
    path.gap_opened(5.0)
    path.came_late(5.06)
    waits = []
    for window in range(40):
        path.acknowledged(6.0 + window, asking=False)
        waits.append(path.patience_s)
    assert waits == sorted(waits, reverse=True)
    assert waits[0] == pytest.approx(0.09)
    assert waits[-1] == 0


def test_without_a_measured_round_trip_nothing_is_learned() -> None:
    path = order(None)
    path.gap_opened(5.0)
    path.came_late(5.5)
    assert path.patience_s == 0
    assert not path.asked_lately(5.5)
    assert not path.too_soon(5.5)
