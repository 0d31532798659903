"""Why something came again."""

from __future__ import annotations

from blockstep_lab.trace.transfer import Why
from support.capture_story import Story, ack, data, oack, read_request, write_request


def causes(story: Story) -> list[tuple[int, str]]:
    """Frame and cause of each resend."""
    return [(packet.frame, packet.why.value) for packet in story.only_transfer().packets if packet.why]


def windowed(story: Story) -> None:
    story.request(read_request(windowsize=4))
    story.server(oack(windowsize=4))
    story.client(ack(0))


def test_nothing_is_said_of_a_clean_transfer(story: Story) -> None:
    windowed(story)
    for first in (1, 5, 9):
        for index in range(first, first + 4):
            story.server(data(index))
        story.client(ack(first + 3))
    assert causes(story) == []


def test_a_timer_after_silence(story: Story) -> None:
    story.request(read_request())
    story.request(read_request(), after_s=1)
    story.lock_step(1, 3)
    story.server(data(4))
    story.server(data(4), after_s=1)
    story.client(ack(4))
    story.client(ack(4), after_s=2)
    assert causes(story) == [(2, "timer"), (10, "timer"), (12, "timer")]


def test_the_sorcerers_apprentice(story: Story) -> None:
    story.request(read_request())
    story.lock_step(1, 2)
    story.client(ack(2))
    story.server(data(3))
    story.server(data(3))
    story.client(ack(3))
    story.client(ack(3))
    assert causes(story) == [(6, "copied on the way"), (8, "duplicate ACK"), (10, "copied on the way")]


def test_timers_of_both_sides_that_end_together_accuse_nobody(story: Story) -> None:
    story.request(read_request())
    story.lock_step(1, 2)
    story.server(data(3), lost="loss")
    story.client(ack(2), after_s=1)
    story.server(data(3))
    story.client(ack(3))
    assert causes(story) == [(7, "timer"), (8, "timer")]


def test_a_late_answer_is_not_one(story: Story) -> None:
    story.request(read_request())
    story.lock_step(1, 3)
    story.server(data(4))
    story.client(ack(3))
    story.server(data(4), after_s=0.9)
    assert causes(story)[-1] == (10, "timer")


def test_the_granted_timeout_tells_a_fast_timer(story: Story) -> None:
    story.request(read_request(utimeout=100_000))
    story.server(oack(utimeout=100_000))
    story.client(ack(0))
    story.lock_step(1, 2)
    story.server(data(3))
    story.client(ack(2), after_s=0.0999)
    story.server(data(3))
    assert causes(story) == [(9, "timer"), (10, "timer")]


def test_a_gap_ack_and_the_run_that_answers_it(story: Story) -> None:
    windowed(story)
    for index in range(1, 5):
        story.server(data(index), lost="loss" if index == 2 else "")
    story.client(ack(1))
    for index in range(2, 6):
        story.server(data(index))
    assert causes(story) == [(9, "gap ACK"), (10, "gap ACK"), (11, "gap ACK")]


def test_an_ack_that_was_lost_explains_nothing(story: Story) -> None:
    windowed(story)
    for index in range(1, 5):
        story.server(data(index))
    story.client(ack(1), lost="loss")
    for index in range(1, 5):
        story.server(data(index), after_s=1 if index == 1 else 0.0001)
    assert [why for _, why in causes(story)] == ["timer"] * 4


def test_the_receiver_answers_what_it_has_already(story: Story) -> None:
    story.request(read_request())
    story.lock_step(1, 2)
    story.server(data(2), after_s=1)
    story.client(ack(2))
    assert causes(story) == [(6, "timer"), (7, "duplicate DATA")]


def test_the_receiver_answers_a_gap_twice(story: Story) -> None:
    windowed(story)
    story.server(data(1))
    story.server(data(3))
    story.client(ack(1))
    story.server(data(4))
    story.client(ack(1))
    assert causes(story) == [(8, "gap ACK")]


def test_a_repeated_request_is_answered_again(story: Story) -> None:
    story.request(read_request(blksize=8))
    story.server(oack(blksize=8))
    story.request(read_request(blksize=8), after_s=1)
    story.server(oack(blksize=8))
    story.server(oack(blksize=8), after_s=1)
    assert causes(story) == [(3, "timer"), (4, "duplicate request"), (5, "timer")]


def test_a_copy_that_the_network_made(story: Story) -> None:
    story.request(write_request())
    story.server(ack(0))
    story.client(data(1))
    story.client(data(1), after_s=0.001)
    assert causes(story) == [(4, "copied on the way")]


def test_every_cause_has_a_name_of_its_own() -> None:
    assert len({why.value for why in Why}) == len(Why)
