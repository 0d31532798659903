from __future__ import annotations

from blockstep_lab.netns.breather import Breather


def rested(busy_s: float, slept_s: float) -> float:
    """The share of ten seconds that somebody rests who in turn is busy and sleeps for these times."""
    breather, now, total = Breather(0.0), 0.0, 0.0
    while now < 10.0:
        now += busy_s + slept_s
        breather.add(slept_s)
        rest_s = breather.maybe_rest_s(now)
        now += rest_s
        total += rest_s
    return total / now


def test_who_never_sleeps_rests_more_than_the_kernel_would_take() -> None:
    assert 0.06 < rested(0.0001, 0.0) < 0.09


def test_who_sleeps_enough_is_left_alone() -> None:
    assert rested(0.0001, 0.00002) == 0.0
    assert rested(0.0, 0.5) == 0.0


def test_who_sleeps_a_little_rests_a_little() -> None:
    assert 0.0 < rested(0.0001, 0.000004) < 0.06


def test_no_rest_makes_a_packet_later_than_a_millisecond() -> None:
    breather = Breather(0.0)
    assert breather.maybe_rest_s(0.005) == 0.0
    assert 0.0 < breather.maybe_rest_s(5.0) < 0.001
