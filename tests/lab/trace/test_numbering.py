"""Block indexes past 65,535, in both ways of rolling over, and with what a network does to the order."""

from __future__ import annotations

import pytest

from blockstep.protocol.numbers import Numbering
from blockstep.protocol.wire import Opcode, Request
from blockstep_lab.trace.ip import Endpoint
from blockstep_lab.trace.numbering import maybe_rollover_seen, number_blocks
from blockstep_lab.trace.transfer import Side, TracedPacket, Transfer
from support.capture_story import Story, ack, data, read_request

END = Endpoint("127.0.0.1", 69)
REQUEST = Request(Opcode.RRQ, "x", "octet")


def numbered(wires: list[tuple[Opcode, int]]) -> Transfer:
    transfer = Transfer(1, END, END, REQUEST)
    for frame, (opcode, wire) in enumerate(wires):
        side = Side.SERVER if opcode == Opcode.DATA else Side.CLIENT
        transfer.packets.append(TracedPacket(frame, frame, side, END, opcode, wire=wire))
    number_blocks(transfer)
    return transfer


@pytest.mark.parametrize("rollover", [0, 1])
@pytest.mark.parametrize("window", [1, 64])
def test_indexes_go_on_past_the_wrap(rollover: int, window: int) -> None:
    numbering = Numbering(rollover)
    wires = []
    expected = []
    for first in range(1, 70_000 if window == 1 else 140_000, window):
        for index in range(first, first + window):
            wires.append((Opcode.DATA, numbering.wire(index)))
            expected.append(index)
        wires.append((Opcode.ACK, numbering.wire(first + window - 1)))
        expected.append(first + window - 1)
    transfer = numbered(wires)
    assert [packet.index for packet in transfer.packets] == expected
    assert maybe_rollover_seen(transfer) == rollover


def test_no_rollover_before_the_wrap() -> None:
    assert maybe_rollover_seen(numbered([(Opcode.DATA, wire) for wire in range(1, 40_000)])) is None


def test_a_resend_and_a_swap_at_the_wrap() -> None:
    wires = [*range(32_000, 65_536, 8_000), 65_534, 65_535, 1, 0, 65_535, 2]
    found = [packet.index for packet in numbered([(Opcode.DATA, wire) for wire in wires]).packets]
    assert found[-6:] == [65_534, 65_535, 65_537, 65_536, 65_535, 65_538]


def test_numbers_that_mean_no_block() -> None:
    transfer = numbered([(Opcode.DATA, 1), (Opcode.ACK, 65_000)])
    assert [packet.index for packet in transfer.packets] == [1, None]


def test_an_oack_stands_for_block_0(story: Story) -> None:
    story.request(read_request(blksize=8))
    story.server(b"\0\6blksize\08\0")
    story.client(ack(0))
    assert [packet.index for packet in story.only_transfer().packets] == [None, 0, 0]


@pytest.mark.parametrize(("asked", "length", "blksize"), [(1428, 1428, 1428), (1428, 2000, 512), (None, 600, 512)])
def test_the_block_size_of_an_oack_that_the_capture_missed(
    story: Story, asked: int | None, length: int, blksize: int
) -> None:
    story.request(read_request(blksize=asked) if asked else read_request())
    story.server(data(1, length))
    assert story.only_transfer().terms.blksize == blksize
