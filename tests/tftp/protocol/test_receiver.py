from __future__ import annotations

import pytest

from blockstep.protocol.errors import TransferFailed
from blockstep.protocol.machine import UNPROVEN_SENDS
from blockstep.protocol.receiver import PATIENCE
from blockstep.protocol.states import Role, State
from support.playbook import ACK_0, ARRIVAL_S, OACK, block, content_of, received, receiving, stats

RECEIVERS = [Role.GET, Role.SERVE_WRITE]


# Lock-step.


def test_lock_step() -> None:
    play = receiving()
    play.play("""
        <- DATA 1
        -> ACK 1
        <- DATA 2
        -> ACK 2
        <- DATA 3:5
        -> ACK 3
        == dallying
        -- deadline
        == done
    """)
    assert received(play) == content_of(3, 5)[:16] + b"LLLLL"
    assert stats(play) == {"payload_bytes": 21, "blocks": 3}


@pytest.mark.parametrize("window", [1, 4])
def test_an_empty_file(window: int) -> None:
    play = receiving(window)
    play.play("""
        <- DATA 1:0
        -> ACK 1
        == dallying
        -- deadline
        == done
    """)
    assert (received(play), stats(play)) == (b"", {"blocks": 1})


def test_a_file_of_whole_blocks_ends_with_an_empty_one() -> None:
    play = receiving(4)
    play.play("""
        <- DATA 1 2 3 4
        -> ACK 4
        <- DATA 5:0
        -> ACK 5
        == dallying
    """)
    assert received(play) == content_of(5, 0)


def test_a_lost_ack_is_repeated_when_the_block_comes_again() -> None:
    play = receiving()
    play.play("""
        <- DATA 1
        -> ACK 1
        <- DATA 1
        -> ACK 1
        <- DATA 2
        -> ACK 2
    """)
    assert stats(play) == {"payload_bytes": 16, "resends": 1, "duplicates": 1}


def test_a_sorcerer_is_not_fed() -> None:
    # A peer that answers each of our ACKs with DATA (RFC 1123 section 4.2.3.1): each block twice from then on.
    play = receiving()
    play.play("""
        <- DATA 1
        -> ACK 1
        <- DATA 1
        -> ACK 1
        <- DATA 2
        -> ACK 2
        <- DATA 2
        <- DATA 3
        -> ACK 3
    """)
    assert stats(play) == {"payload_bytes": 24, "resends": 1, "duplicates": 2, "needless": 1}


def test_a_block_of_the_past_or_the_future_is_passed_over_in_lock_step() -> None:
    play = receiving()
    play.play("""
        <- DATA 1
        -> ACK 1
        <- DATA 2
        -> ACK 2
        <- DATA 1
        <- DATA 4
        <- DATA 0
        <- DATA 65535
    """)
    assert stats(play) == {"payload_bytes": 16, "duplicates": 1, "ignored": 3}


def test_silence_is_answered_with_the_last_ack() -> None:
    play = receiving()
    play.play("""
        <- DATA 1
        -> ACK 1
        -- deadline
        -> ACK 1
        <- DATA 2
        -> ACK 2
    """)
    assert stats(play) == {"payload_bytes": 16, "resends": 1, "timeouts": 1}


def test_it_is_more_patient_than_a_sender_of_our_kind() -> None:
    play = receiving()
    play.play("""
        <- DATA 1
        -> ACK 1
        <- DATA 2
        -> ACK 2
    """)
    machine = play.driver.machine
    assert machine.next_deadline() - play.now == pytest.approx(PATIENCE * machine.timer.rto_s)
    assert PATIENCE > 1


# Windows.


def test_windows_are_acknowledged_at_their_end_in_whatever_bursts_they_come() -> None:
    play = receiving(4)
    play.play("""
        <- DATA 1 2 3 4
        -> ACK 4
        <- DATA 5
        <- DATA 6 7
        <- DATA 8
        -> ACK 8
        <- DATA 9 10:5
        -> ACK 10
        == dallying
    """)
    assert received(play) == content_of(10, 5)


def test_a_gap_is_acknowledged_at_once_and_once() -> None:
    play = receiving(4)
    play.play("""
        <- DATA 1 3 4
        -> ACK 1
        <- DATA 5
        <- DATA 2 3 4 5
        -> ACK 5
    """)
    assert stats(play) == {"payload_bytes": 40, "gaps": 1, "duplicates": 3}


def test_a_window_without_its_first_block_asks_once_for_each_time_it_comes() -> None:
    play = receiving(4)
    play.play("""
        <- DATA 2
        -> ACK 0
        <- DATA 3 4
        <- DATA 2 3 4
        -> ACK 0
        <- DATA 1 2 3 4
        -> ACK 4
    """)
    assert received(play) == content_of(5, 0)


def test_after_a_lost_gap_ack_the_window_of_the_sender_decides() -> None:
    # The gap ACK 2 is lost: the sender goes on from 1, so its window ends at 4 and not at 6.
    play = receiving(4)
    play.play("""
        <- DATA 1 2 4
        -> ACK 2
        <- DATA 1 2 3 4
        -> ACK 4
    """)


def test_a_window_that_comes_again_because_its_ack_was_lost_is_acknowledged_once() -> None:
    play = receiving(4)
    play.play("""
        <- DATA 1 2 3 4
        -> ACK 4
        <- DATA 1 2 3 4
        -> ACK 4
        <- DATA 5 6 7 8
        -> ACK 8
    """)
    assert stats(play) == {"payload_bytes": 64, "resends": 1, "duplicates": 4}


def test_a_lost_end_of_a_window_is_mended_by_either_side() -> None:
    receiving(4).play("""
        <- DATA 1 2 3
        -- deadline
        -> ACK 3
        <- DATA 4 5 6 7
        -> ACK 7
    """)
    receiving(4).play("""
        <- DATA 1 2 3
        <- DATA 1 2 3 4
        -> ACK 4
    """)


def test_a_block_that_the_network_doubles_asks_for_nothing() -> None:
    play = receiving(4)
    play.play("""
        <- DATA 1
        <- DATA 1
        <- DATA 2 3 4
        -> ACK 4
        <- DATA 4
        <- DATA 5 6 7
        <- DATA 7
        <- DATA 8
        -> ACK 8
    """)
    assert stats(play) == {"payload_bytes": 64, "duplicates": 3}


# Packets that overtake each other.


def test_what_comes_early_is_written_when_the_gap_closes() -> None:
    play = receiving(4)
    play.play("""
        <- DATA 1 3 4 2
        -> ACK 4
        <- DATA 8 7 6 5
        -> ACK 8
        <- DATA 11:0
        -> ACK 8
        <- DATA 10 9
        -> ACK 11
        == dallying
    """)
    assert received(play) == content_of(11, 0)
    assert stats(play) == {"payload_bytes": 80, "blocks": 11, "gaps": 1, "resends": 1}


def test_nothing_is_written_behind_a_block_that_turns_out_to_be_the_last() -> None:
    play = receiving(4)
    play.play("""
        <- DATA 4, 3
        -> ACK 0 0
        <- DATA 2:5
        -> ACK 0
        <- DATA 1
        -> ACK 2
        == dallying
    """)
    assert received(play) == content_of(2, 5)


def test_a_block_that_is_late_teaches_it_to_wait_and_windows_in_order_that_it_need_not() -> None:
    play = receiving(4)
    play.play("""
        <- DATA 1 2 3 4
        -> ACK 4
        -- 0.099
        <- DATA 5
        <- DATA 7
        -> ACK 5
        -- 0.019
        <- DATA 6
        <- DATA 8 9
        -> ACK 9
        -- 0.099
        <- DATA 10, 12, 13
        -- 0.019
        <- DATA 11
        -> ACK 13
        -- 0.099
        <- DATA 14 16
        -- deadline
        -> ACK 14
        -- 0.099
        <- DATA 15 16 17 18
        -> ACK 18
    """)
    assert stats(play) == {"payload_bytes": 144, "gaps": 2, "duplicates": 1}
    for first in range(19, 99, 4):
        play.play(f"""
            -- 0.099
            <- DATA {first} {first + 1} {first + 2} {first + 3}
            -> ACK {first + 3}
        """)
    play.play("""
        -- 0.099
        <- DATA 99 101
        -> ACK 99
    """)


def test_no_copy_of_a_block_is_taken_for_a_sign_that_an_ack_was_lost_before_one_can_have_come() -> None:
    play = receiving(4)
    play.play("""
        <- DATA 1 2 3 4
        -> ACK 4
        -- 0.1
        <- DATA 5 6 7 8
        -> ACK 8
        <- DATA 5 6 7 8
        -- 0.1
        <- DATA 5 6 7 8
        -> ACK 8
    """)


def test_blocks_far_away_are_passed_over() -> None:
    play = receiving(4)
    play.play("""
        <- DATA 1 2 3 4
        -> ACK 4
        <- DATA 20
        <- DATA 40000
    """)
    assert stats(play) == {"payload_bytes": 32, "ignored": 2}


def test_nothing_is_taken_behind_the_last_block() -> None:
    play = receiving(4)
    play.play("""
        <- DATA 1:5
        -> ACK 1
        == dallying
        <- DATA 2
        <- DATA 3:5
    """)
    assert received(play) == b"LLLLL"


# The end.


def test_the_final_ack_waits_for_the_disk() -> None:
    play = receiving(commit=False)
    play.play("""
        <- DATA 1:5
        <- DATA 1:5
        -- commit
        -> ACK 1
        == dallying
        -- deadline
        == done
    """)


@pytest.mark.parametrize("role", RECEIVERS)
def test_a_lost_final_ack_is_repeated_as_long_as_it_dallies(role: Role) -> None:
    play = receiving(role=role, opening=ACK_0 if role is Role.SERVE_WRITE else None)
    play.driver.flush(play.now)
    play.play("""
        <- DATA 1:5
        -> ACK 1
        == dallying
        <- DATA 1:5
        -> ACK 1
    """)
    play.now += 0.9 * (play.driver.machine.next_deadline() - play.now)
    play.play("""
        <- DATA 1:5
        -> ACK 1
        -- deadline
        == done
        <- DATA 1:5
        !! LocalError
    """)


@pytest.mark.parametrize("role", RECEIVERS)
def test_it_dallies_longer_on_a_path_that_loses(role: Role) -> None:
    waited = {}
    for lossy in (False, True):
        play = receiving(role=role, opening=ACK_0 if role is Role.SERVE_WRITE else None)
        play.driver.flush(play.now)
        for index in range(1, 6):
            play.now += ARRIVAL_S
            play.driver.take(block(index), play.now)
        if lossy:
            play.driver.take(block(5), play.now)
        play.driver.take(block(6, 5), play.now)
        assert play.driver.machine.state is State.DALLYING
        waited[lossy] = play.driver.machine.next_deadline() - play.now
    assert 0 < waited[False] < waited[True]


def test_any_block_of_a_repeated_window_brings_the_final_ack_again_and_one_is_enough() -> None:
    receiving(4).play("""
        <- DATA 1 2 3:5
        -> ACK 3
        == dallying
        <- DATA 1
        -> ACK 3
        <- DATA 2
        <- DATA 3:5
        <- DATA 2
        -> ACK 3
        <- DATA 2
        -> ACK 3
    """)


def test_a_peer_that_repeats_itself_without_end_does_not_keep_us() -> None:
    play = receiving()
    play.play("""
        <- DATA 1:5
        -> ACK 1
        == dallying
    """)
    machine, started_at = play.driver.machine, play.now
    while not machine.finished:
        play.now = min(play.now + 0.01, machine.next_deadline())
        play.driver.take(block(1, 5), play.now)
        play.driver.expire(play.now)
    assert play.now - started_at <= machine.timer.give_up_s + 0.01


def test_a_surplus_ack_does_not_make_it_deaf_for_the_last_block() -> None:
    # ACK 1 went out twice, so DATA 2 might come twice (a sorcerer); but when 2 is the last block, its copy says that
    # our final ACK was lost, and no answer would cost the sender its file.
    play = receiving()
    play.play("""
        <- DATA 1
        -> ACK 1
        <- DATA 1
        -> ACK 1
        <- DATA 2:5
        -> ACK 2
        == dallying
        <- DATA 2:5
        -> ACK 2
    """)


@pytest.mark.parametrize("rubbish", ["ERROR", "ACK 1", "RAW", "RAW 0007", "DATA 1:16", "REQUEST"])
def test_a_whole_file_stays_whole_whatever_the_peer_says_then(rubbish: str) -> None:
    play = receiving()
    play.play("""
        <- DATA 1:5
        -> ACK 1
        == dallying
    """)
    outcome = "!! TransferFailed PEER_ERROR" if rubbish == "ERROR" else "!! RemoteError 4"
    play.play(f"""
        <- {rubbish}
        {outcome}
        == done
    """)
    assert play.driver.machine.delivered


# Opening, proof and patience.


@pytest.mark.parametrize(("opening", "name"), [(OACK, "OACK"), (ACK_0, "ACK 0")])
def test_a_write_begins_with_data(opening: bytes, name: str) -> None:
    play = receiving(4, role=Role.SERVE_WRITE, opening=opening)
    play.play(f"""
        -> {name}
        <- REQUEST
        -- deadline
        -> {name}
        <- DATA 1 2 3 4
        -> ACK 4
        == moving
        <- REQUEST
        <- DATA 5:5
        -> ACK 5
        == dallying
        <- REQUEST
        == done
    """)
    assert received(play) == content_of(5, 5)
    assert play.driver.machine.next_request[:2] == b"\0\1"


def test_a_write_whose_first_block_is_lost() -> None:
    play = receiving(4, role=Role.SERVE_WRITE, opening=OACK)
    play.play("""
        -> OACK
        <- DATA 2 3 4
        -> ACK 0
        == moving
        <- DATA 1 2 3 4
        -> ACK 4
    """)
    assert play.driver.machine.timer.srtt_s == pytest.approx(ARRIVAL_S)  # of the OACK, whichever block answers it
    assert received(play) == content_of(5, 0)


def test_a_peer_that_has_not_proven_itself_gets_three_packets() -> None:
    play = receiving(role=Role.SERVE_WRITE, opening=ACK_0)
    play.play("-> ACK 0")
    for _ in range(UNPROVEN_SENDS - 1):
        play.play("""
            -- deadline
            -> ACK 0
        """)
    play.play("""
        -- deadline
        !! TransferFailed TIMED_OUT
        == failed
    """)


def test_the_oack_is_acknowledged_and_again_when_that_was_lost() -> None:
    play = receiving(first_ack=True)
    play.play("""
        -> ACK 0
        <- OACK
        -> ACK 0
        <- DATA 1
        -> ACK 1
        <- OACK
        <- DATA 2
        -> ACK 2
    """)


def test_it_gives_up_after_the_whole_patience() -> None:
    play = receiving()
    play.play("""
        <- DATA 1
        -> ACK 1
    """)
    started_at, machine = play.now, play.driver.machine
    while machine.next_deadline() < started_at + machine.timer.give_up_s:
        play.now = machine.next_deadline()
        play.driver.expire(play.now)
    play.now = machine.next_deadline()
    with pytest.raises(TransferFailed, match="no progress for 24"):
        play.driver.expire(play.now)
    assert play.now - started_at == pytest.approx(machine.timer.give_up_s)
    assert machine.state is State.FAILED
    assert play.driver.flush(play.now) == []


def test_no_round_trip_is_taken_from_an_ack_that_went_out_twice() -> None:
    play = receiving(first_ack=True)
    timer = play.driver.machine.timer
    play.play("""
        -> ACK 0
        -- deadline
        -> ACK 0
        <- DATA 1
        -> ACK 1
    """)
    assert timer.srtt_s is None
    play.play("""
        -- 0.499
        <- DATA 2
        -> ACK 2
    """)
    assert timer.srtt_s == pytest.approx(0.5)
