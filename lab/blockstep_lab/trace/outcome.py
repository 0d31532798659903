"""How a transfer ended, and its sums.

Rules of this file: *complete* means that the short last block was seen and acknowledged; blocks that the capture does
not hold are counted apart, for it may be the capture that lost them. A client that asks for the size and then says no
has probed, which is no failure.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from enum import Enum

from blockstep.protocol.wire import ErrorPacket, Opcode, printable_untrusted
from blockstep_lab.trace.transfer import Side, TracedPacket, Transfer, Why

__all__ = ["Outcome", "Result", "body_of", "outcome_of"]


class Result(Enum):
    """The ends that a capture can show."""

    COMPLETE = "complete"
    UNACKNOWLEDGED = "complete, but the last ACK was not seen"
    REFUSED = "refused"
    PROBE = "size asked, then declined"
    FAILED = "failed"
    UNANSWERED = "no answer"
    INCOMPLETE = "not finished in this capture"


@dataclass(frozen=True, slots=True)
class Outcome:
    """`blocks` and `octets` count what was carried, each block once. `last` is the index of the final block, None if it
    was not seen; `missing` counts blocks before the highest that the capture does not hold. `resends` counts by what
    was sent again and why. `detail` is the ERROR, safe to print."""

    result: Result
    blocks: int
    octets: int
    duration_s: float
    last: int | None
    missing: int
    resends: dict[tuple[str, Why], int]
    detail: str = ""


def body_of(transfer: Transfer) -> tuple[dict[int, TracedPacket], int | None]:
    """The first sight of each block by index, and the index of the final block (the first that is short)."""
    blocks: dict[int, TracedPacket] = {}
    last: int | None = None
    for packet in transfer.packets:
        if packet.index is None or not transfer.carries_data(packet):
            continue
        blocks.setdefault(packet.index, packet)
        if packet.length < transfer.terms.blksize and (last is None or packet.index < last):
            last = packet.index
    return blocks, last


def outcome_of(transfer: Transfer) -> Outcome:
    """Sums and end of a transfer whose block indexes and resends have been worked out."""
    blocks, last = body_of(transfer)
    if last is not None:
        blocks = {index: packet for index, packet in blocks.items() if index <= last}
    packets = transfer.packets
    error = _maybe_error(transfer)
    return Outcome(
        result=_result(transfer, blocks, last, error),
        blocks=len(blocks),
        octets=sum(packet.length for packet in blocks.values()),
        duration_s=(packets[-1].time_ns - packets[0].time_ns) / 1e9,
        last=last,
        missing=max(blocks, default=0) - len(blocks),
        resends=_resends(transfer),
        detail=_detail(error),
    )


def _result(
    transfer: Transfer, blocks: dict[int, TracedPacket], last: int | None, error: TracedPacket | None
) -> Result:
    highest_ack = max((packet.index or 0 for packet in transfer.own_packets if packet.opcode == Opcode.ACK), default=-1)
    if last is not None and highest_ack >= last:
        return Result.COMPLETE
    if error is not None:
        return _failure(transfer, blocks, error)
    if last is not None:
        return Result.UNACKNOWLEDGED
    return Result.INCOMPLETE if transfer.peer is not None else Result.UNANSWERED


def _failure(transfer: Transfer, blocks: dict[int, TracedPacket], error: TracedPacket) -> Result:
    if blocks:
        return Result.FAILED
    if error.side is Side.SERVER:
        return Result.REFUSED
    return Result.PROBE if "tsize" in transfer.terms.granted else Result.FAILED


def _maybe_error(transfer: Transfer) -> TracedPacket | None:
    errors = (packet for packet in transfer.own_packets if packet.opcode == Opcode.ERROR)
    return next(errors, None)


def _detail(error: TracedPacket | None) -> str:
    if error is None or not isinstance(error.content, ErrorPacket):
        return ""
    return f'{error.side.value}: ERROR {error.content.code} "{printable_untrusted(error.content.message)}"'


def _resends(transfer: Transfer) -> dict[tuple[str, Why], int]:
    counts = Counter(
        (packet.opcode.name, packet.why)
        for packet in transfer.own_packets
        if packet.why is not None and packet.opcode is not None
    )
    return dict(sorted(counts.items(), key=lambda item: (item[0][0], -item[1])))
