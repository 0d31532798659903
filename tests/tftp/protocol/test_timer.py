from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blockstep.protocol.timer import CEILING_S, FIRST_S, FLOOR_MAX_S, FLOOR_S, ResendTimer

rtts_s = st.lists(st.floats(0, 30, allow_nan=False), min_size=1, max_size=50)


def test_before_the_first_round_trip_it_waits_a_second() -> None:
    timer = ResendTimer()
    assert (timer.rto_s, timer.srtt_s) == (FIRST_S, None)  # RFC 6298 section 2.1
    assert ResendTimer(ceiling_s=0.25).rto_s == 0.25


def test_the_first_round_trip_sets_the_estimate() -> None:
    timer = ResendTimer()
    timer.sample(0.1)
    assert timer.srtt_s == 0.1
    assert timer.rto_s == pytest.approx(0.1 + 4 * 0.05)  # RFC 6298 section 2.2


def test_later_round_trips_are_smoothed() -> None:
    timer = ResendTimer()
    timer.sample(0.1)
    timer.sample(0.2)
    # RFC 6298 section 2.3: RTTVAR first, with the old SRTT
    rttvar_s = 0.75 * 0.05 + 0.25 * 0.1
    srtt_s = 0.875 * 0.1 + 0.125 * 0.2
    assert timer.srtt_s == pytest.approx(srtt_s)
    assert timer.rto_s == pytest.approx(srtt_s + 4 * rttvar_s)


def test_steady_round_trips_bring_it_down_to_the_floor_and_no_further() -> None:
    timer = ResendTimer()
    for _ in range(200):
        timer.sample(0.0)
    assert timer.rto_s == FLOOR_S


def test_a_steady_round_trip_leaves_room_for_the_clock() -> None:
    # Its variance goes to nothing; a wait of exactly one round trip would end when the answer comes.
    timer = ResendTimer()
    for _ in range(500):
        timer.sample(0.3)
    assert timer.rto_s >= 0.3 + FLOOR_S


@given(rtts_s)
def test_it_stays_between_floor_and_ceiling(rtts: list[float]) -> None:
    timer = ResendTimer()
    for rtt_s in rtts:
        timer.sample(rtt_s)
        assert FLOOR_S <= timer.rto_s <= CEILING_S


def test_it_doubles_up_to_the_ceiling_and_forgets_that_with_progress() -> None:
    timer = ResendTimer()
    timer.sample(0.1)
    base_s = timer.rto_s
    waits = []
    for _ in range(6):
        timer.back_off()
        waits.append(timer.rto_s)
    assert waits == pytest.approx([min(base_s * 2**n, CEILING_S) for n in range(1, 7)])
    timer.restart()
    assert timer.rto_s == base_s


def test_a_negotiated_timeout_is_the_new_ceiling() -> None:
    timer = ResendTimer()
    timer.limit(0.05)
    assert timer.rto_s == 0.05
    timer.back_off()
    assert timer.rto_s == 0.05
    timer.sample(3.0)
    assert timer.rto_s == 0.05
    timer.limit(20)
    timer.sample(3.0)
    assert CEILING_S < timer.rto_s <= 20


def test_a_timeout_below_the_floor_lowers_the_floor() -> None:
    timer = ResendTimer(floor_s=0.2)
    timer.limit(0.01)
    timer.sample(0.0)
    assert timer.rto_s == 0.01


def test_needless_resends_raise_the_floor_up_to_a_bound() -> None:
    timer = ResendTimer()
    floors = []
    for _ in range(8):
        timer.sample(0.0)
        floors.append(timer.rto_s)
        timer.was_needless()
    assert floors[:3] == pytest.approx([FLOOR_S, 2 * FLOOR_S, 4 * FLOOR_S], rel=0.05)
    assert floors == sorted(floors)
    assert floors[-1] == pytest.approx(FLOOR_MAX_S, rel=0.05)


def test_needless_resends_double_the_wait_until_a_round_trip_can_be_measured_again() -> None:
    timer = ResendTimer()
    timer.sample(0.05)
    before_s = timer.rto_s
    for _ in range(3):
        timer.was_needless()
        timer.restart()
    assert timer.rto_s == pytest.approx(8 * before_s)
    for _ in range(10):
        timer.was_needless()
    assert timer.rto_s == CEILING_S
    timer.sample(0.05)
    assert timer.rto_s < 8 * before_s


def test_needless_resends_never_shorten_a_wait() -> None:
    timer = ResendTimer()
    timer.sample(0.1)
    timer.back_off()
    before_s = timer.rto_s
    timer.was_needless()
    assert timer.rto_s == before_s


def test_what_raised_the_floor_fades_with_good_round_trips() -> None:
    timer = ResendTimer()
    timer.sample(0.0001)
    for _ in range(3):
        timer.was_needless()
    raised_s = timer.rto_s
    for _ in range(200):
        timer.sample(0.0001)
    assert raised_s >= 8 * FLOOR_S
    assert timer.rto_s == pytest.approx(FLOOR_S, rel=0.1)
