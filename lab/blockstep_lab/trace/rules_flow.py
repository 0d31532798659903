"""Rules about DATA, ACK and the end.

Each rule is a generator over one transfer and yields the packet that breaks it with a sentence. Packets of strays
(other TIDs) are not judged. A packet that the capturing link lost was still sent, so its sender is judged by it, but
it allows the other side nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from blockstep.protocol.wire import Opcode
from blockstep_lab.trace.numbering import maybe_rollover_seen
from blockstep_lab.trace.outcome import body_of
from blockstep_lab.trace.transfer import Found, Side, TracedPacket, Transfer, Why

__all__ = ["FLOW_RULES"]

_CR = 13
_AFTER_CR = frozenset({0, 10})


def _data(transfer: Transfer) -> Iterator[tuple[TracedPacket, int]]:
    for packet in transfer.packets:
        if transfer.carries_data(packet):
            yield packet, packet.index or 0


def _both_directions(transfer: Transfer) -> bool:
    """False where the receiving side was never heard: then the capture was taken in one direction only."""
    receiver = transfer.sender.other
    return any(
        packet.side is receiver and packet.opcode in (Opcode.ACK, Opcode.OACK) for packet in transfer.own_packets
    )


def _sorcerer(transfer: Transfer) -> Iterator[Found]:
    for packet, index in _data(transfer):
        if packet.why is Why.DUPLICATE_ACK:
            yield packet, f"DATA {index} sent again in answer to a duplicate ACK {index - 1}"


def _window_overrun(transfer: Transfer) -> Iterator[Found]:
    if not _both_directions(transfer):
        return
    windowsize = transfer.terms.windowsize
    acknowledged = 0
    for packet in transfer.own_packets:
        if packet.index is None:
            continue
        if packet.side is not transfer.sender:
            if packet.opcode == Opcode.ACK and not packet.lost:
                acknowledged = max(acknowledged, packet.index)
        elif packet.opcode == Opcode.DATA and packet.index > acknowledged + windowsize:
            yield packet, f"DATA {packet.index} sent, but ACK {acknowledged} allows {acknowledged + windowsize} at most"


def _block_too_long(transfer: Transfer) -> Iterator[Found]:
    for packet, index in _data(transfer):
        if packet.length > transfer.terms.blksize:
            yield packet, f"DATA {index} has {packet.length} octets, blksize is {transfer.terms.blksize}"


def _bad_number(transfer: Transfer) -> Iterator[Found]:
    """Blocks are numbered from 1; a number that means no block is wrong wherever it comes."""
    for packet in transfer.own_packets:
        if packet.opcode == Opcode.DATA and packet.side is transfer.sender and not packet.index:
            yield packet, f"DATA {packet.wire} is the number of no block"


def _data_from_receiver(transfer: Transfer) -> Iterator[Found]:
    for packet in transfer.own_packets:
        if packet.opcode == Opcode.DATA and packet.side is not transfer.sender:
            yield packet, f"the {packet.side.value} sent DATA, but it is the side that receives the file"


def _data_after_end(transfer: Transfer) -> Iterator[Found]:
    _, last = body_of(transfer)
    if last is None:
        return
    for packet, index in _data(transfer):
        if index > last:
            yield packet, f"DATA {index} sent, but DATA {last} was short and so the last"


def _changed_block(transfer: Transfer) -> Iterator[Found]:
    blocks, _ = body_of(transfer)
    for packet, index in _data(transfer):
        first = blocks[index]
        known = packet.digest is not None and first.digest is not None
        if packet.length != first.length or (known and packet.digest != first.digest):
            yield packet, f"DATA {index} sent again with other content than in frame {first.frame}"


def _ack_never_sent(transfer: Transfer) -> Iterator[Found]:
    blocks, _ = body_of(transfer)
    if not blocks:  # the capture may hold one direction only, or first fragments only
        return
    beyond = max(blocks)
    highest: int | None = None
    for packet in transfer.own_packets:
        index = packet.index
        if packet.side is transfer.sender:
            if packet.opcode in (Opcode.DATA, Opcode.OACK) and index is not None:
                highest = max(highest or 0, index)
            continue
        # A block that was never seen although later ones were: sent, and missed by the capture.
        missed = index is not None and index not in blocks and index < beyond
        if packet.opcode == Opcode.ACK and highest is not None and not missed and (index is None or index > highest):
            yield packet, f"ACK {packet.wire}, but nothing beyond DATA {highest} had been sent"


def _wrong_rollover(transfer: Transfer) -> Iterator[Found]:
    seen, agreed = maybe_rollover_seen(transfer), transfer.terms.rollover
    if seen is None or agreed is None or seen == agreed:
        return
    for packet, index in _data(transfer):
        if packet.wire == seen and index > 1:
            yield packet, f"{seen} follows 65535, but rollover {agreed} was agreed"
            return


def _after_own_error(transfer: Transfer) -> Iterator[Found]:
    ended: dict[Side, TracedPacket] = {}
    for packet in transfer.own_packets:
        if packet.side in ended and packet.opcode in (Opcode.DATA, Opcode.ACK, Opcode.OACK):
            yield packet, f"{packet.opcode.name} sent after its own ERROR in frame {ended[packet.side].frame}"
        if packet.opcode == Opcode.ERROR:
            ended.setdefault(packet.side, packet)


def _lone_cr(transfer: Transfer) -> Iterator[Found]:
    blocks, _ = body_of(transfer)
    for index, packet in blocks.items():
        before = blocks.get(index - 1)
        if packet.edges is None:
            continue
        at_border = before is not None and before.edges is not None and before.edges.last == _CR
        if packet.edges.lone_cr or (at_border and packet.edges.first not in _AFTER_CR):
            yield packet, f"DATA {index} has a CR that neither LF nor NUL follows"


FLOW_RULES: dict[str, tuple[str, Callable[[Transfer], Iterator[Found]]]] = {
    "sorcerer": ("RFC 1123 section 4.2.3.1", _sorcerer),
    "window-overrun": ("RFC 1350 section 2, RFC 7440 section 4", _window_overrun),
    "block-too-long": ("RFC 1350 section 5, RFC 2348", _block_too_long),
    "bad-number": ("RFC 1350 section 5", _bad_number),
    "data-from-receiver": ("RFC 1350 section 4", _data_from_receiver),
    "data-after-end": ("RFC 1350 section 6", _data_after_end),
    "changed-block": ("RFC 1350 section 2", _changed_block),
    "ack-never-sent": ("RFC 1350 section 5", _ack_never_sent),
    "wrong-rollover": ("the rollover option, as agreed", _wrong_rollover),
    "after-own-error": ("RFC 1350 section 7", _after_own_error),
    "lone-cr": ("RFC 1350 section 1, RFC 764", _lone_cr),
}
