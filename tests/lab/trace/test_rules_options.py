"""Requests, OACKs and who may answer: each rule, and the transfer that just keeps to it."""

from __future__ import annotations

import pytest

from support.capture_story import Story, ack, data, error, oack, read_request, write_request

GOOD = {
    "blksize": [8, 1428, 65464],
    "timeout": [1, 255],
    "windowsize": [1, 65535],
}
BAD = {
    "blksize": [0, 7, 65465, "x", "1e3"],
    "timeout": [0, 256, ""],
    "windowsize": [0, 65536, "9" * 400],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in GOOD.items() for value in values])
def test_values_in_range(story: Story, name: str, value: int) -> None:
    story.request(read_request(**{name: value}))
    story.server(oack(**{name: value}))
    assert story.broken_rules() == []


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in BAD.items() for value in values])
def test_values_out_of_range(story: Story, name: str, value: int | str) -> None:
    story.request(read_request(**{name: value}))
    story.server(oack(**{name: value}))
    assert story.broken_rules() == [("asked-out-of-range", 1, 1), ("granted-out-of-range", 2, 1)]


def test_an_option_that_nobody_asked_for(story: Story) -> None:
    story.request(read_request(blksize=512))
    story.server(oack(blksize=512, tsize=99))
    assert story.broken_rules() == [("unasked-option", 2, 1)]


@pytest.mark.parametrize(
    ("asked", "granted", "is_broken"),
    [
        ({"blksize": 1024}, {"blksize": 512}, False),
        ({"blksize": 1024}, {"blksize": 1025}, True),
        ({"windowsize": 8}, {"windowsize": 4}, False),
        ({"windowsize": 8}, {"windowsize": 9}, True),
        ({"timeout": 5}, {"timeout": 5}, False),
        ({"timeout": 5}, {"timeout": 4}, True),
        ({"tsize": 0}, {"tsize": 77}, False),
    ],
)
def test_granted_values(story: Story, asked: dict[str, int], granted: dict[str, int], is_broken: bool) -> None:
    story.request(read_request(**asked))
    story.server(oack(**granted))
    assert story.broken_rules() == ([("granted-other-value", 2, 1)] if is_broken else [])


def test_a_write_gets_its_tsize_back(story: Story) -> None:
    story.request(write_request(tsize=100))
    story.server(oack(tsize=99))
    assert story.broken_rules() == [("granted-other-value", 2, 1)]


def test_a_read_asks_for_the_size_with_0(story: Story) -> None:
    story.request(read_request(tsize=5))
    assert story.broken_rules() == [("read-tsize-not-zero", 1, 1)]


@pytest.mark.parametrize(("promised", "is_broken"), [(515, False), (514, True)])
def test_the_promised_size(story: Story, promised: int, is_broken: bool) -> None:
    story.request(read_request(tsize=0))
    story.server(oack(tsize=promised))
    story.client(ack(0))
    story.lock_step(1, 1)
    story.server(data(2, 3))
    assert story.broken_rules() == ([("wrong-tsize", 2, 1)] if is_broken else [])


def test_a_size_promised_for_netascii_is_not_compared(story: Story) -> None:
    story.request(read_request("file", "netascii", tsize=0))
    story.server(oack(tsize=5))
    story.client(ack(0))
    story.server(data(1, 3))
    assert story.broken_rules() == []


def test_data_before_the_answer_to_an_oack(story: Story) -> None:
    story.request(read_request(blksize=512))
    story.server(oack(blksize=512))
    story.server(data(1))
    story.client(ack(0))
    assert story.broken_rules() == [("data-before-oack-answer", 3, 1)]


def test_an_answer_from_another_address(story: Story) -> None:
    story.tid = ("127.0.0.9", 50000)
    story.request(read_request())
    story.lock_step(1, 2)
    assert story.broken_rules() == [("other-address", 2, 2)]


@pytest.mark.parametrize("packet", [b"\0\x09", b"\0", b"\0\3\0", b"\0\6a\0"])
def test_malformed_packets(story: Story, packet: bytes) -> None:
    story.request(read_request())
    story.lock_step(1, 1)
    story.server(packet)
    assert story.broken_rules() == [("malformed", 4, 1)]


def test_a_long_request(story: Story) -> None:
    story.request(b"\0\1" + b"x" * 510 + b"\0octet\0")
    assert story.broken_rules() == [("request-too-long", 1, 1)]


def test_errors_and_other_sessions_break_nothing(story: Story) -> None:
    story.request(read_request())
    story.server(data(1))
    story.server(data(1), tid=("127.0.0.1", 50001))
    story.client(error(5), tid=("127.0.0.1", 50001))
    story.client(ack(1))
    story.server(error(0, "stopped"))
    assert story.broken_rules() == []
