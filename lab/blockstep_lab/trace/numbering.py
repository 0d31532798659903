"""From wire numbers to block indexes, and the terms that only the whole transfer shows.

Rules of this file: what follows wire number 65,535 is read from the DATA packets themselves (a 0 anywhere after a high
number means 0, otherwise 1), not from what was negotiated; whether the two agree is for `rules` to say. An OACK has the
index 0, because what it answers and what answers it would be block 0.
"""

from __future__ import annotations

from dataclasses import replace

from blockstep.protocol.numbers import Numbering
from blockstep.protocol.options import BLKSIZE_DEFAULT, decimal_untrusted
from blockstep.protocol.wire import Opcode
from blockstep_lab.trace.transfer import Transfer

__all__ = ["maybe_rollover_seen", "number_blocks"]

_HIGH = 0x8000


def number_blocks(transfer: Transfer) -> None:
    """Set `index` in every packet of the transfer that has one, and complete the terms."""
    _assume_blksize(transfer)
    numbering = Numbering(maybe_rollover_seen(transfer) or 0)
    highest = 0
    for packet in transfer.own_packets:
        if packet.opcode == Opcode.OACK:
            packet.index = 0
        elif packet.opcode in (Opcode.DATA, Opcode.ACK):
            index = numbering.nearest(packet.wire, highest)
            packet.index = index if index >= 0 else None
            if packet.opcode == Opcode.DATA and packet.side is transfer.sender:
                highest = max(highest, index)


def maybe_rollover_seen(transfer: Transfer) -> int | None:
    """The wire number that followed 65,535 in this transfer, None if it did not get there."""
    high = wrapped = False
    for packet in transfer.own_packets:
        if packet.opcode != Opcode.DATA or packet.side is not transfer.sender:
            continue
        if packet.wire >= _HIGH:
            high = True
        elif high and packet.wire == 0:
            return 0
        elif high and packet.wire < _HIGH // 2:
            wrapped = True
    return 1 if wrapped else None


def _assume_blksize(transfer: Transfer) -> None:
    """Without an OACK in the capture the first block shows what was granted, if anything was asked."""
    asked = dict(transfer.request.options).get("blksize")
    if asked is None or any(packet.opcode == Opcode.OACK for packet in transfer.packets):
        return
    lengths = [packet.length for packet in transfer.own_packets if packet.opcode == Opcode.DATA and packet.wire == 1]
    limit = decimal_untrusted(asked) or BLKSIZE_DEFAULT
    if lengths and BLKSIZE_DEFAULT < lengths[0] <= limit:
        transfer.terms = replace(transfer.terms, blksize=lengths[0])
