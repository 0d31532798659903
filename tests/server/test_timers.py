from __future__ import annotations

from blockstep_server.timers import Timers


def test_callbacks_run_in_the_order_of_their_times() -> None:
    timers, ran = Timers(), list[str]()
    timers.call_at(2.0, lambda: ran.append("second"))
    timers.call_at(1.0, lambda: ran.append("first"))
    timers.call_at(2.0, lambda: ran.append("third"))
    timers.call_at(3.0, lambda: ran.append("later"))
    timers.run_due(2.0)
    assert ran == ["first", "second", "third"]


def test_the_timeout_is_that_of_the_next_that_counts() -> None:
    timers = Timers()
    assert timers.timeout_s(0.0) is None
    cancelled = timers.call_at(1.0, lambda: None)
    timers.call_at(5.0, lambda: None)
    assert timers.timeout_s(0.5) == 0.5
    cancelled.cancel()
    assert timers.timeout_s(0.5) == 4.5
    assert timers.timeout_s(9.0) == 0.0


def test_a_cancelled_timer_does_not_run_even_if_cancelled_by_one_due_with_it() -> None:
    timers, ran = Timers(), list[str]()
    second = timers.call_at(2.0, lambda: ran.append("second"))
    timers.call_at(1.0, second.cancel)
    timers.run_due(3.0)
    assert ran == []


def test_a_timer_set_by_a_timer_waits_for_the_next_turn() -> None:
    timers, ran = Timers(), list[int]()

    def again() -> None:
        ran.append(len(ran))
        timers.call_at(0.0, again)

    timers.call_at(0.0, again)
    timers.run_due(0.0)
    assert ran == [0]
    timers.run_due(0.0)
    assert ran == [0, 1]
