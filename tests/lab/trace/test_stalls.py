"""Where a transfer stood still, and what is said about it."""

from __future__ import annotations

import pytest

from blockstep_lab.trace.stalls import find_stalls
from support.capture_story import Story, ack, data, error, oack, read_request


def the_cause(story: Story) -> str:
    (stall,) = story.stalls()
    return stall.cause


def test_a_quick_transfer_has_none(story: Story) -> None:
    story.request(read_request())
    story.lock_step(1, 5)
    assert story.stalls() == []


def test_frames_duration_and_threshold(story: Story) -> None:
    story.request(read_request())
    story.server(data(1), after_s=0.5)
    transfer = story.only_transfer()
    (stall,) = find_stalls(transfer)
    assert (stall.after, stall.frame, stall.duration_s) == (1, 2, 0.5)
    assert find_stalls(transfer, 0.6) == []


def test_a_server_that_does_not_answer(story: Story) -> None:
    story.request(read_request())
    story.request(read_request(), after_s=1)
    assert the_cause(story) == "the server did not answer; the client's timer sent the request again"


def test_a_request_that_the_link_lost(story: Story) -> None:
    story.request(read_request(), lost="loss 1%")
    story.request(read_request(), after_s=1)
    assert the_cause(story) == "the link lost RRQ (loss 1%); the client's timer sent the request again"


def test_an_answer_that_the_client_did_not_get(story: Story) -> None:
    story.request(read_request())
    story.server(data(1))
    story.request(read_request(), after_s=1)
    assert the_cause(story).startswith("DATA 1 was seen here but the client asked again")


@pytest.mark.parametrize("packet", [data(1), oack(blksize=8)])
def test_a_server_that_is_slow_to_start(story: Story, packet: bytes) -> None:
    story.request(read_request(blksize=8))
    story.server(packet, after_s=1)
    assert the_cause(story) == "the server took this long to answer the request"


def test_data_or_its_ack_lost_out_of_sight(story: Story) -> None:
    story.request(read_request())
    story.server(data(1))
    story.server(data(1), after_s=1)
    assert the_cause(story) == "no ACK of DATA 1 was seen: it or its ACK was lost; the server's timer sent it again"


def test_data_that_the_link_lost(story: Story) -> None:
    story.request(read_request())
    story.server(data(1), lost="rule drop DATA 1")
    story.server(data(1), after_s=1)
    assert the_cause(story) == "the link lost DATA 1 (rule drop DATA 1); the server's timer sent it again"


TIMER = "; the server's timer sent it again"
UNHELPFUL = "ACK 1 was seen here but did not help the server: lost behind this point, or late"


@pytest.mark.parametrize(("lost", "cause"), [("loss", "the link lost ACK 1 (loss)"), ("", UNHELPFUL)])
def test_an_ack_that_did_not_arrive(story: Story, lost: str, cause: str) -> None:
    story.request(read_request())
    story.server(data(1))
    story.client(ack(1), lost=lost)
    story.server(data(1), after_s=1)
    assert the_cause(story) == cause + TIMER


def test_a_slow_sender_and_a_slow_receiver(story: Story) -> None:
    story.request(read_request())
    story.server(data(1))
    story.client(ack(1), after_s=1)
    story.server(data(2), after_s=2)
    assert [stall.cause for stall in story.stalls()] == [
        "the client took this long to answer DATA 1, or an earlier ACK 1 was lost before this point",
        "the server took this long to answer ACK 1, or an earlier DATA 2 was lost before this point",
    ]


def test_a_silence_as_long_as_the_granted_timeout(story: Story) -> None:
    story.request(read_request(timeout=2))
    story.server(oack(timeout=2))
    story.client(ack(0))
    story.server(data(1), after_s=2.01)
    assert the_cause(story) == "the timeout that was granted: an earlier DATA 1 was lost before this point"


def test_a_pause_inside_a_window(story: Story) -> None:
    story.request(read_request(windowsize=4))
    story.server(oack(windowsize=4))
    story.client(ack(0))
    story.server(data(1))
    story.server(data(2), after_s=1)
    assert the_cause(story) == "the server paused before DATA 2, which the window allowed at once"


def test_a_receiver_that_waits_for_the_rest_of_a_window(story: Story) -> None:
    story.request(read_request(windowsize=4))
    story.server(oack(windowsize=4))
    story.client(ack(0))
    for index in range(1, 5):
        story.server(data(index), lost="loss" if index == 4 else "")
    story.client(ack(3), after_s=1)
    assert the_cause(story) == "the link lost DATA 4 (loss); the client's timer sent ACK 3"


NOT_SEEN = "DATA 2 was not seen: it was lost before this point, or ACK 1 did not arrive; the client's timer sent ACK 1"
LOST = "the link lost ACK 1 (loss); the client's timer sent ACK 1 again"


@pytest.mark.parametrize(("lost", "cause"), [("loss", LOST), ("", NOT_SEEN)])
def test_a_receiver_whose_timer_asks_again(story: Story, lost: str, cause: str) -> None:
    story.request(read_request())
    story.server(data(1))
    story.client(ack(1), lost=lost)
    story.client(ack(1), after_s=1)
    assert the_cause(story) == cause


def test_data_that_was_lost_behind_the_point_of_capture(story: Story) -> None:
    story.request(read_request())
    story.lock_step(1, 1)
    story.server(data(2))
    story.client(ack(1), after_s=1)
    assert the_cause(story) == "DATA 2 was seen here but lost behind this point; the client's timer sent ACK 1"


def test_an_oack_again_and_an_error(story: Story) -> None:
    story.request(read_request(blksize=8))
    story.server(oack(blksize=8))
    story.server(oack(blksize=8), after_s=1)
    story.server(error(0, "gone"), after_s=3)
    assert [stall.cause for stall in story.stalls()] == [
        "no answer to the OACK reached the server, its timer sent it again",
        "the server then gave up with an ERROR",
    ]


def test_silence_before_a_packet_that_is_no_part_of_it(story: Story) -> None:
    story.request(read_request())
    story.server(data(1))
    story.server(b"\0\x09", after_s=1)
    assert the_cause(story) == "the server then sent something that is no part of the transfer"


def test_duplicates_after_a_silence(story: Story) -> None:
    story.request(read_request())
    story.lock_step(1, 1)
    story.server(data(1), after_s=1)
    story.client(ack(1))
    assert len(story.stalls()) == 1
