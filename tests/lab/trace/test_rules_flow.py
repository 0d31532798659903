"""DATA, ACK and the end: each rule, and the transfer that just keeps to it."""

from __future__ import annotations

import pytest

from support.capture_story import Story, ack, data, error, oack, read_request, write_request


def windowed(story: Story, windowsize: int = 4) -> None:
    story.request(read_request(windowsize=windowsize))
    story.server(oack(windowsize=windowsize))
    story.client(ack(0))


def test_the_sorcerers_apprentice(story: Story) -> None:
    story.request(read_request())
    story.lock_step(1, 2)
    for index in (3, 4):
        story.server(data(index))
        story.client(ack(index - 1))
        story.server(data(index))
        story.client(ack(index))
    assert story.broken_rules() == [("sorcerer", 8, 2)]


def test_a_duplicate_ack_that_is_left_alone(story: Story) -> None:
    story.request(read_request())
    story.lock_step(1, 2)
    story.client(ack(2))
    story.lock_step(3, 5)
    assert story.broken_rules() == []


def test_a_window_that_is_kept_and_one_that_is_not(story: Story) -> None:
    windowed(story)
    for index in range(1, 5):
        story.server(data(index))
    story.client(ack(2))
    for index in range(3, 7):
        story.server(data(index))
    assert story.broken_rules() == []
    story = Story(story.path)
    windowed(story)
    for index in range(1, 7):
        story.server(data(index))
    story.client(ack(6))
    assert story.broken_rules() == [("window-overrun", 8, 2)]


def test_an_ack_that_was_lost_allows_nothing(story: Story) -> None:
    story.request(read_request())
    story.server(data(1))
    story.client(ack(1), lost="loss")
    story.server(data(2))
    assert story.broken_rules() == [("window-overrun", 4, 1)]


def test_a_capture_of_one_direction_accuses_nobody(story: Story) -> None:
    story.request(read_request())
    for index in range(1, 9):
        story.server(data(index))
    assert story.broken_rules() == []
    story = Story(story.path)
    story.request(read_request())
    for index in range(1, 9):
        story.client(ack(index))
    assert story.broken_rules() == []


def test_a_block_that_is_too_long(story: Story) -> None:
    story.request(read_request(blksize=1024))
    story.server(oack(blksize=600))
    story.client(ack(0))
    story.server(data(1, 1024))
    assert story.broken_rules() == [("block-too-long", 4, 1)]


def test_numbers_of_no_block(story: Story) -> None:
    story.request(read_request())
    story.server(data(0))
    story.server(data(65_000))
    assert story.broken_rules() == [("bad-number", 2, 2)]


def test_data_from_the_side_that_receives(story: Story) -> None:
    story.request(write_request())
    story.server(ack(0))
    story.server(data(1))
    assert story.broken_rules() == [("data-from-receiver", 3, 1)]


def test_data_after_the_end(story: Story) -> None:
    story.request(read_request())
    story.server(data(1, 5))
    story.client(ack(1))
    story.server(data(2, 5))
    assert story.broken_rules() == [("data-after-end", 4, 1)]


@pytest.mark.parametrize("again", [data(1, 511), data(1, b"x" * 512)])
def test_a_block_that_changed(story: Story, again: bytes) -> None:
    story.request(read_request())
    story.server(data(1))
    story.server(again, after_s=1)
    story.client(ack(1))
    assert story.broken_rules() == [("changed-block", 3, 1)]


def test_an_ack_for_what_was_never_sent(story: Story) -> None:
    story.request(read_request())
    story.lock_step(1, 1)
    story.client(ack(5))
    story.client(ack(60_000))
    story.lock_step(2, 3)
    assert ("ack-never-sent", 4, 2) in story.broken_rules()


def test_an_ack_for_a_block_that_the_capture_missed(story: Story) -> None:
    story.request(read_request())
    story.lock_step(1, 1)
    story.client(ack(2))
    story.lock_step(3, 4)
    assert story.broken_rules() == []


@pytest.mark.parametrize("seen", [0, 1])
@pytest.mark.parametrize("agreed", [None, 0, 1])
def test_the_rollover_that_was_agreed(story: Story, seen: int, agreed: int | None) -> None:
    options: dict[str, int] = {"windowsize": 65_535} if agreed is None else {"windowsize": 65_535, "rollover": agreed}
    story.request(read_request(**options))
    story.server(oack(**options))
    story.client(ack(0))
    for index in (1, 20_000, 40_000, 60_000, 65_535, 65_536, 65_537):
        story.server(data(index, 512, seen))
        story.client(ack(index, seen))
    assert story.broken_rules() == ([] if agreed in (None, seen) else [("wrong-rollover", 14, 1)])


def test_packets_after_an_own_error(story: Story) -> None:
    story.request(read_request())
    story.server(data(1))
    story.client(error(0))
    story.server(data(1), after_s=1)
    assert story.broken_rules() == []
    story = Story(story.path)
    story.request(read_request())
    story.server(data(1))
    story.client(error(0))
    story.client(ack(1))
    assert story.broken_rules() == [("after-own-error", 4, 1)]


@pytest.mark.parametrize(
    ("first", "second", "is_broken"),
    [
        (b"ab\r\ncd\r\0", b"x", False),
        (b"abcdefg\r", b"\nx", False),
        (b"abcdefg\r", b"\0x", False),
        (b"abcdefg\r", b"x", True),
        (b"ab\rcdefg", b"x", True),
    ],
)
def test_a_lone_carriage_return(story: Story, first: bytes, second: bytes, is_broken: bool) -> None:
    story.request(read_request("file", "netascii", blksize=8))
    story.server(oack(blksize=8))
    story.client(ack(0))
    story.server(data(1, first))
    story.client(ack(1))
    story.server(data(2, second))
    assert [rule for rule, _, _ in story.broken_rules()] == (["lone-cr"] if is_broken else [])
