from __future__ import annotations

import pytest

from blockstep.protocol.arena import Arena
from blockstep.protocol.errors import LocalError
from blockstep.protocol.machine import UNPROVEN_SENDS
from blockstep.protocol.options import Agreed
from blockstep.protocol.sender import PROBE, SYNC_PATIENCE_S, Sender
from blockstep.protocol.states import Role
from blockstep.protocol.timer import FIRST_S, FLOOR_MAX_S, ResendTimer
from blockstep.protocol.wire import ack_bytes
from support.drivers import SendDriver
from support.playbook import ARRIVAL_S, OACK, content_of, sending, stats

# Lock-step.


def test_lock_step() -> None:
    play = sending(content_of(3, 5))
    play.play("""
        -> DATA 1
        <- ACK 1
        -> DATA 2
        <- ACK 2
        -> DATA 3
        <- ACK 3
        == done
    """)
    assert stats(play) == {"payload_bytes": 21, "blocks": 3}


def test_an_empty_file_is_one_empty_block() -> None:
    play = sending(b"")
    play.play("""
        -> DATA 1
        <- ACK 1
        == done
    """)
    assert stats(play) == {"blocks": 1}


@pytest.mark.parametrize("window", [1, 4])
def test_a_file_of_whole_blocks_ends_with_an_empty_one(window: int) -> None:
    play = sending(content_of(5, 0), window)
    play.play(
        {
            1: """
            -> DATA 1
            <- ACK 1
            -> DATA 2
            <- ACK 2
            -> DATA 3
            <- ACK 3
            -> DATA 4
            <- ACK 4
            -> DATA 5
            <- ACK 5
            == done
        """,
            4: """
            -> DATA 1 2 3 4
            <- ACK 4
            -> DATA 5
            <- ACK 5
            == done
        """,
        }[window]
    )
    assert stats(play) == {"payload_bytes": 32, "blocks": 5}


def test_a_repeated_ack_in_lock_step_is_never_answered() -> None:
    play = sending(content_of(4, 5))
    play.play("""
        -> DATA 1
        <- ACK 1
        -> DATA 2
        <- ACK 1
        <- ACK 1
        -- 5
        <- ACK 1
        <- ACK 2
        -> DATA 3
        <- ACK 0
    """)
    assert stats(play) == {"payload_bytes": 16, "blocks": 2, "duplicates": 3, "ignored": 1}


def test_when_every_ack_comes_twice_every_block_still_goes_out_once() -> None:
    play = sending(content_of(3, 5))
    play.play("""
        -> DATA 1
        <- ACK 1 1
        -> DATA 2
        <- ACK 2 2
        -> DATA 3
        <- ACK 3
        == done
    """)
    assert set(play.sent.values()) == {1}


def test_a_lost_block_goes_out_again_and_the_next_wait_is_longer() -> None:
    play = sending(content_of(2, 5))
    play.play("-> DATA 1")
    waits = []
    for _ in range(4):
        waits.append(play.driver.machine.next_deadline() - play.now)
        play.play("""
            -- deadline
            -> DATA 1
        """)
    assert waits == pytest.approx([FIRST_S, 2, 4, 4])
    play.play("""
        <- ACK 1
        -> DATA 2
    """)
    assert stats(play) == {"payload_bytes": 8, "blocks": 1, "resends": 4, "timeouts": 4}


def test_the_acks_that_a_needless_resend_brings_are_expected() -> None:
    play = sending(content_of(3, 5))
    play.play("""
        -> DATA 1
        -- deadline
        -> DATA 1
        <- ACK 1
        -> DATA 2
        <- ACK 1
    """)
    assert stats(play) == {"payload_bytes": 8, "blocks": 1, "resends": 1, "needless": 1, "timeouts": 1, "duplicates": 1}


# Windows.


def test_windows() -> None:
    play = sending(content_of(6, 5), 4)
    play.play("""
        -> DATA 1 2 3 4
        <- ACK 4
        -> DATA 5 6
        <- ACK 6
        == done
    """)
    assert stats(play) == {"payload_bytes": 45, "blocks": 6}


def test_a_gap_is_filled_at_once() -> None:
    play = sending(content_of(8, 5), 4)
    play.play("""
        -> DATA 1 2 3 4
        <- ACK 2
        -> DATA 3 4 5 6
        <- ACK 6
        -> DATA 7 8
        <- ACK 8
        == done
    """)
    assert stats(play) == {"payload_bytes": 61, "blocks": 8, "resends": 2, "gaps": 1}


def test_a_lost_first_block_is_asked_for_by_the_ack_before_it() -> None:
    play = sending(content_of(9, 5), 4)
    play.play("""
        -> DATA 1 2 3 4
        <- ACK 4
        -> DATA 5 6 7 8
        <- ACK 4
        -> DATA 5 6 7 8
        <- ACK 8
        -> DATA 9
    """)
    assert stats(play) == {"payload_bytes": 64, "blocks": 8, "resends": 4, "gaps": 1, "duplicates": 1}


def test_a_lost_last_block_of_a_window_is_mended_by_the_timer() -> None:
    play = sending(content_of(5, 5), 4)
    play.play("""
        -> DATA 1 2 3 4
        -- deadline
        -> DATA 1 2 3 4
        <- ACK 4
        -> DATA 5
    """)


def test_when_every_ack_comes_twice_at_once_every_block_of_a_window_still_goes_out_once() -> None:
    play = sending(content_of(11, 5), 4)
    play.play("""
        -> DATA 1 2 3 4
        <- ACK 4 4
        -> DATA 5 6 7 8
        <- ACK 8 8
        -> DATA 9 10 11
        <- ACK 11
        == done
    """)
    assert set(play.sent.values()) == {1}
    assert stats(play) == {"payload_bytes": 85, "blocks": 11, "duplicates": 2}


def test_a_peer_that_acknowledges_every_block_of_a_gap_gets_each_block_twice_at_most() -> None:
    play = sending(content_of(9, 5), 4)
    play.play("""
        -> DATA 1 2 3 4
        <- ACK 4
        -> DATA 5 6 7 8
        <- ACK 4 4 4
        -> DATA 5 6 7 8
    """)


def test_the_end_of_an_older_pass_shows_no_gap() -> None:
    # ACK 8 answers the pass 5 to 8, which was still on its way when ACK 5 made us go back. Who goes back again has two
    # passes on their way from then on, and sends every block twice to the end.
    play = sending(content_of(20, 5), 4)
    play.play("""
        -> DATA 1 2 3 4
        -- 0.1
        <- ACK 4
        -> DATA 5 6 7 8
        -- 0.1
        <- ACK 5
        -> DATA 6 7 8 9
        <- ACK 8
        -> DATA 10 11 12
        <- ACK 9
        -> DATA 13
    """)
    assert play.driver.machine.stats.gaps == 1


def test_an_ack_that_comes_too_soon_to_answer_a_window_shows_no_gap_in_it() -> None:
    play = sending(content_of(20, 5), 4)
    play.play("""
        -> DATA 1 2 3 4
        -- 0.1
        <- ACK 4
        -> DATA 5 6 7 8
        <- ACK 4
        -- 0.1
        <- ACK 4
        -> DATA 5 6 7 8
        <- ACK 6
        -> DATA 9 10
    """)
    assert play.driver.machine.stats.gaps == 1


def test_a_slow_opening_does_not_make_it_deaf_for_a_gap_in_the_first_window() -> None:
    # The round trip that was measured first has the start of a process in it.
    sending(content_of(20, 5), 4, role=Role.SERVE_READ, opening=OACK).play("""
        -> OACK
        -- 0.5
        <- ACK 0
        -> DATA 1 2 3 4
        == moving
        -- 0.01
        <- ACK 2
        -> DATA 3 4 5 6
    """)


def test_a_gap_at_the_end_of_an_older_pass_is_filled_when_it_had_the_time_to_be_seen() -> None:
    sending(content_of(20, 5), 4).play("""
        -> DATA 1 2 3 4
        -- 0.1
        <- ACK 4
        -> DATA 5 6 7 8
        -- 0.1
        <- ACK 5
        -> DATA 6 7 8 9
        -- 0.1
        <- ACK 8
        -> DATA 9 10 11 12
    """)


def test_acks_older_than_the_window_and_acks_of_the_future_change_nothing() -> None:
    play = sending(content_of(12, 5), 4)
    play.play("""
        -> DATA 1 2 3 4
        <- ACK 4
        -> DATA 5 6 7 8
        <- ACK 3
        <- ACK 0
        <- ACK 9
        <- ACK 65535
    """)
    assert stats(play) == {"payload_bytes": 32, "blocks": 4, "ignored": 4}


@pytest.mark.parametrize("limit", [1, 3, 64])
def test_a_send_call_takes_no_more_than_its_limit(limit: int) -> None:
    agreed = Agreed(blksize=8, windowsize=8)
    sender = Sender(Role.PUT, agreed, ResendTimer(), arena=Arena(16, 8), now=0.0)
    slot, count = sender.room()
    sender.loaded(slot, count, count * 8)
    runs = []
    while (run := sender.poll_send(0.0, limit)) is not None:
        runs.append((run[1] - run[0]) // 12)
    assert (sum(runs), max(runs)) == (8, min(limit, 8))


# The ring.


@pytest.mark.parametrize("slots", [4, 5, 6, 7, 8, 9, 13])
@pytest.mark.parametrize("last_bytes", [0, 5])
def test_the_ring_turns_and_the_last_block_is_short(slots: int, last_bytes: int) -> None:
    content = content_of(30, last_bytes)
    play = sending(content, 4, slots=slots)
    received = b""
    out = play.driver.flush(100.0)
    for step in range(200):
        numbers = [packet[2] << 8 | packet[3] for packet in out]
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
        assert len(out) == min(4, 30 - numbers[0] + 1), "less than a window: the peer would wait"
        taken = out if step % 3 else out[: 1 + step % 2]  # now and then the end of the window is lost
        received = received[: (numbers[0] - 1) * 8] + b"".join(packet[4:] for packet in taken)
        out = play.driver.take(ack_bytes(numbers[0] + len(taken) - 1), 100.0 + step)
        if play.driver.machine.finished:
            break
    assert received == content


@pytest.mark.parametrize("load_blocks", [1, 3, 100])
def test_reading_ahead_never_overwrites_what_may_have_to_be_sent_again(load_blocks: int) -> None:
    agreed = Agreed(blksize=8, windowsize=4)
    content = content_of(40, 5)
    sender = Sender(Role.PUT, agreed, ResendTimer(), arena=Arena(8, 8), now=0.0)
    driver = SendDriver(sender, content, load_blocks=load_blocks)
    driver.flush(0.0)
    base = 1
    for index in [2, 4, 5, 9, 12, 13, 14, 18, 19, 23, 27]:
        driver.take(ack_bytes(index), float(index))
        base = index + 1
        sender.handle_deadline(sender.next_deadline())  # all of the window again, from the ring
        again = driver.flush(100.0)
        assert b"".join(packet[4:] for packet in again) == content[(base - 1) * 8 :][: 8 * len(again)]
        assert len(again) == 4


def test_half_of_the_ring_is_read_ahead() -> None:
    agreed = Agreed(blksize=8, windowsize=2)
    sender = Sender(Role.PUT, agreed, ResendTimer(), arena=Arena(8, 8), now=0.0)
    assert (sender.wants_load, sender.room()) == (True, (0, 8))
    sender.loaded(0, 3, 24)
    assert (sender.wants_load, sender.room()) == (True, (3, 5))
    sender.loaded(3, 2, 16)
    assert not sender.wants_load
    assert sender.room() == (5, 3)
    sender.loaded(5, 3, 24)
    sender.poll_send(0.0, 64)
    sender.handle_datagram(memoryview(ack_bytes(2)), 0.1)
    assert (sender.wants_load, sender.room()) == (False, (0, 2))  # blocks 3 to 8 may yet have to be sent again
    sender.poll_send(0.1, 64)
    sender.handle_datagram(memoryview(ack_bytes(4)), 0.2)
    assert (sender.wants_load, sender.room()) == (True, (0, 4))
    sender.loaded(0, 4, 10)
    assert not sender.wants_load  # the file has ended


def test_a_window_that_is_not_whole_in_the_ring_is_filled_up() -> None:
    # A ring may be smaller than two windows. After a gap less than a window was left in it, and the peer, who answers
    # whole windows, would have waited for blocks that nobody read.
    sending(content_of(9, 5), 4, slots=5).play("""
        -> DATA 1 2 3 4
        <- ACK 1
        -> DATA 2 3 4 5
        <- ACK 5
        -> DATA 6 7 8 9
    """)


def test_the_arena_must_fit() -> None:
    with pytest.raises(LocalError, match="does not fit"):
        Sender(Role.PUT, Agreed(blksize=16), ResendTimer(), arena=Arena(2, 8), now=0.0)


# Opening, proof and patience.


def test_the_oack_goes_first_and_data_after_ack_0() -> None:
    sending(content_of(2, 5), 2, role=Role.SERVE_READ, opening=OACK).play("""
        -> OACK
        <- ACK 0
        -> DATA 1 2
        == moving
        <- ACK 2
        == done
    """)


def test_a_lost_oack_is_repeated_and_a_repeated_request_is_not_answered_twice() -> None:
    play = sending(content_of(2, 5), role=Role.SERVE_READ, opening=OACK)
    play.play("""
        -> OACK
        <- REQUEST
        -- deadline
        -> OACK
        <- REQUEST
        <- ACK 0
        -> DATA 1
        == moving
        <- REQUEST
        <- ACK 1
        -> DATA 2
    """)
    assert play.driver.machine.timer.srtt_s == pytest.approx(2 * ARRIVAL_S)  # of DATA 1 alone (Karn)


def test_only_ack_0_answers_the_oack() -> None:
    # 65535 is the number "before" 0; a window must not start because of it
    play = sending(content_of(3, 5), 4, role=Role.SERVE_READ, opening=OACK)
    play.play("""
        -> OACK
        <- ACK 65535
        <- ACK 1
        <- ACK 0
        -> DATA 1 2 3
        == moving
    """)
    assert stats(play) == {"ignored": 2}


@pytest.mark.parametrize("opening", [OACK, None])
def test_a_peer_that_has_not_proven_itself_gets_three_packets(opening: bytes | None) -> None:
    what = "OACK" if opening else "DATA 1"
    play = sending(content_of(2, 5), role=Role.SERVE_READ, opening=opening)
    play.play(f"-> {what}")
    for _ in range(UNPROVEN_SENDS - 1):
        play.play(f"""
            -- deadline
            -> {what}
        """)
    play.play("""
        -- deadline
        !! TransferFailed TIMED_OUT
        == failed
    """)
    assert UNPROVEN_SENDS == 3


def test_a_peer_far_away_that_asks_for_a_short_timeout_has_the_time_to_answer() -> None:
    play = sending(content_of(2, 5), role=Role.SERVE_READ, opening=OACK)
    play.driver.machine.timer.limit(0.05)
    play.play("""
        -> OACK
        -- deadline
        -> OACK
        -- deadline
        -> OACK
        -- 0.7
        <- ACK 0
        -> DATA 1
        == moving
    """)


def test_a_server_that_we_have_asked_needs_no_proof_and_is_given_up_after_the_whole_patience() -> None:
    play = sending(content_of(2, 5))
    play.play("-> DATA 1")
    for _ in range(7):  # after 1, 3, 7, 11, 15, 19 and 23 s
        play.play("""
            -- deadline
            -> DATA 1
        """)
    play.play("""
        -- deadline
        !! TransferFailed TIMED_OUT
        == failed
        <- ACK 1
        !! LocalError
    """)


def test_a_client_that_gets_the_oack_again_keeps_quiet_in_lock_step() -> None:
    sending(content_of(2, 5)).play("""
        -> DATA 1
        <- OACK
        <- ACK 1
        -> DATA 2
        <- OACK
    """)


# Round trips.


def test_no_round_trip_is_taken_from_what_was_sent_twice() -> None:
    play = sending(content_of(4, 5))
    timer = play.driver.machine.timer
    play.play("""
        -> DATA 1
        -- deadline
        -> DATA 1
        <- ACK 1
        -> DATA 2
    """)
    assert timer.srtt_s is None
    assert timer.rto_s == FIRST_S  # progress has ended the back-off
    play.play("""
        -- 0.499
        <- ACK 2
        -> DATA 3
    """)
    assert timer.srtt_s == pytest.approx(0.5)


def test_no_round_trip_is_taken_from_a_part_of_a_window() -> None:
    play = sending(content_of(9, 5), 4)
    timer = play.driver.machine.timer
    play.play("""
        -> DATA 1 2 3 4
        <- ACK 2
        -> DATA 3 4 5 6
    """)
    assert timer.srtt_s is None
    play.play("""
        -- 0.199
        <- ACK 6
        -> DATA 7 8 9
    """)
    assert timer.srtt_s == pytest.approx(0.2)  # blocks 5 and 6 went out once


def test_the_last_ack_is_given_time_for_the_peers_disk() -> None:
    play = sending(content_of(10, 5))
    play.driver.flush(play.now)
    for index in range(1, 10):
        play.now += ARRIVAL_S
        play.driver.take(ack_bytes(index), play.now)
    machine = play.driver.machine
    assert machine.next_deadline() - play.now == pytest.approx(PROBE * machine.timer.rto_s)
    play.play("""
        -- deadline
        -> DATA 10
    """)
    assert machine.next_deadline() - play.now == pytest.approx(SYNC_PATIENCE_S)
    assert machine.timer.rto_s < FLOOR_MAX_S


def test_before_the_last_window_its_last_block_goes_out_again_alone() -> None:
    play = sending(content_of(7, 5), 4)
    play.play("""
        -> DATA 1 2 3 4
        <- ACK 4
        -> DATA 5 6 7
        -- deadline
        -> DATA 7
        -- deadline
        -> DATA 5 6 7
        <- ACK 5
        -> DATA 6 7
        <- ACK 7
        == done
    """)


def test_a_first_answer_is_waited_for_no_longer_because_the_file_is_short() -> None:
    play = sending(content_of(1, 5), 4)
    play.driver.flush(play.now)
    assert play.driver.machine.next_deadline() - play.now == pytest.approx(FIRST_S)
