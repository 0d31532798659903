"""A packet in a few words, with nothing in it that could harm a terminal."""

from __future__ import annotations

import pytest

from blockstep_lab.trace.wording import options_text, packet_text, quoted
from support.capture_story import Story, ack, data, error, oack, read_request, write_request


def test_each_kind_of_packet(story: Story) -> None:
    story.request(read_request("a b", blksize=8, tsize=0))
    story.server(oack(blksize=8))
    story.client(ack(0))
    story.server(data(1, 8))
    story.server(error(3, "disk full"))
    story.server(b"\0\x09")
    assert [packet_text(packet) for packet in story.only_transfer().packets] == [
        'RRQ "a b" octet blksize=8 tsize=0',
        "OACK blksize=8",
        "ACK 0",
        "DATA 1, 8 octets",
        'ERROR 3 "disk full"',
        "malformed: unknown opcode",
    ]


def test_a_write_without_options(story: Story) -> None:
    story.request(write_request("x", "netascii"))
    assert packet_text(story.only_transfer().packets[0]) == 'WRQ "x" netascii'


def test_a_number_of_no_block(story: Story) -> None:
    story.request(read_request())
    story.server(data(65_000, 3))
    assert packet_text(story.only_transfer().packets[1]) == "DATA 65000, 3 octets"


@pytest.mark.parametrize("harm", ["\x1b[31m", "\r\n", "\u202e", "\x07"])
def test_text_from_the_wire_is_escaped(harm: str) -> None:
    assert quoted(harm).isprintable()
    assert options_text(((harm, harm),)).isprintable()


def test_the_wire_number_of_a_large_index(story: Story) -> None:
    story.request(read_request())
    story.client(ack(0))
    _, packet = story.only_transfer().packets
    packet.index = 65_536
    assert packet_text(packet) == "ACK 65536 (wire 0)"
