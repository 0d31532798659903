"""Where a transfer stood still, and what ended the silence.

A stall is a time of at least `at_least_s` without any packet of the transfer. Its cause is read from the packet that
ended it and from what had been seen before: a timer that ran out says that something was lost, anything else that
somebody was slow. "Seen here" means at the point where the capture was taken; a packet seen here may still have been
lost behind it.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from blockstep.protocol.wire import Opcode, Request
from blockstep_lab.trace.transfer import Side, TracedPacket, Transfer, Why

__all__ = ["AT_LEAST_S", "Stall", "find_stalls"]

AT_LEAST_S = 0.2
# How far a stall may be from the granted timeout and still be taken for it.
_TIMEOUT_TOLERANCE = 0.05


@dataclass(frozen=True, slots=True)
class Stall:
    """`duration_s` seconds of silence that ended with frame `frame`, the packet after frame `after`."""

    after: int
    frame: int
    duration_s: float
    cause: str


class _Seen:
    """What has been sent up to a point of the transfer, by both sides."""

    def __init__(self) -> None:
        self.data: dict[int, TracedPacket] = {}
        self.highest_data = 0
        self.newest_ack: TracedPacket | None = None

    def add(self, packet: TracedPacket) -> None:
        if packet.index is None:
            return
        if packet.opcode == Opcode.DATA:
            self.data[packet.index] = packet
            self.highest_data = max(self.highest_data, packet.index)
        elif self.newest_ack is None or packet.index >= (self.newest_ack.index or 0):
            self.newest_ack = packet


def find_stalls(transfer: Transfer, at_least_s: float = AT_LEAST_S) -> list[Stall]:
    """Every stall in the order of time. Block indexes and resends must have been worked out."""
    stalls = []
    seen = _Seen()
    packets = transfer.own_packets
    if packets:
        seen.add(packets[0])
    for before, packet in pairwise(packets):
        silent_s = (packet.time_ns - before.time_ns) / 1e9
        if silent_s >= at_least_s:
            stalls.append(Stall(before.frame, packet.frame, silent_s, _cause(transfer, seen, before, packet)))
        seen.add(packet)
    return stalls


def _cause(transfer: Transfer, seen: _Seen, before: TracedPacket, packet: TracedPacket) -> str:
    if isinstance(packet.content, Request):
        return _cause_of_request(before)
    if packet.opcode == Opcode.ERROR:
        return f"the {packet.side.value} then gave up with an ERROR"
    if packet.index is None:
        return f"the {packet.side.value} then sent something that is no part of the transfer"
    if packet.opcode == Opcode.DATA:
        return _cause_of_data(transfer, seen, before, packet)
    if isinstance(before.content, Request):
        return "the server took this long to answer the request"
    if packet.opcode == Opcode.OACK:
        return "no answer to the OACK reached the server, its timer sent it again"
    return _cause_of_ack(transfer, seen, before, packet)


def _cause_of_request(before: TracedPacket) -> str:
    if before.lost:
        return f"the link lost {_name(before)} ({before.lost}); the client's timer sent the request again"
    if before.side is Side.SERVER:
        return f"{_name(before)} was seen here but the client asked again: it was lost behind this point or refused"
    return "the server did not answer; the client's timer sent the request again"


def _cause_of_data(transfer: Transfer, seen: _Seen, before: TracedPacket, packet: TracedPacket) -> str:
    index, sender = packet.index or 0, packet.side.value
    if packet.why is None:
        if isinstance(before.content, Request):
            return "the server took this long to answer the request"
        if before.side is packet.side:
            return f"the {sender} paused before DATA {index}, which the window allowed at once"
        return _slow_or_lost(transfer, before, packet)
    if packet.why is not Why.TIMER:
        return f"then a {packet.why.value} made the {sender} send DATA {index} again"
    timer = f"the {sender}'s timer sent it again"
    sent = seen.data.get(index)
    if sent is not None and sent.lost:
        return f"the link lost DATA {index} ({sent.lost}); {timer}"
    answer = seen.newest_ack
    if answer is None or (answer.index or 0) < index:
        what = f"no ACK of DATA {index} was seen: it or its ACK was lost"
    elif answer.lost:
        what = f"the link lost {_name(answer)} ({answer.lost})"
    else:
        what = f"{_name(answer)} was seen here but did not help the {sender}: lost behind this point, or late"
    return f"{what}; {timer}"


def _cause_of_ack(transfer: Transfer, seen: _Seen, before: TracedPacket, packet: TracedPacket) -> str:
    index, receiver = packet.index or 0, packet.side.value
    if packet.why is None and index >= seen.highest_data:
        return _slow_or_lost(transfer, before, packet)
    if packet.why is not None and packet.why is not Why.TIMER:
        return f"then a {packet.why.value} made the {receiver} send ACK {index} again"
    timer = f"the {receiver}'s timer sent ACK {index}"
    missing = seen.data.get(index + 1)
    if missing is None:
        answer = seen.newest_ack
        if answer is not None and answer.index == index and answer.lost:
            return f"the link lost ACK {index} ({answer.lost}); {timer} again"
        return f"DATA {index + 1} was not seen: it was lost before this point, or ACK {index} did not arrive; {timer}"
    if missing.lost:
        return f"the link lost DATA {index + 1} ({missing.lost}); {timer}"
    where = "was seen here but" if transfer.terms.windowsize == 1 else "or a block behind it was seen here but"
    return f"DATA {index + 1} {where} lost behind this point; {timer}"


def _slow_or_lost(transfer: Transfer, before: TracedPacket, packet: TracedPacket) -> str:
    """A first sight of what was due: late, or a resend whose first one was lost on its way to the capture."""
    silent_s, timeout_s = (packet.time_ns - before.time_ns) / 1e9, transfer.terms.timeout_s
    if timeout_s and abs(silent_s - timeout_s) <= timeout_s * _TIMEOUT_TOLERANCE:
        return f"the timeout that was granted: an earlier {_name(packet)} was lost before this point"
    late = f"the {packet.side.value} took this long to answer {_name(before)}"
    return f"{late}, or an earlier {_name(packet)} was lost before this point"


def _name(packet: TracedPacket) -> str:
    if packet.opcode is None:
        return "a malformed packet"
    if packet.opcode in (Opcode.DATA, Opcode.ACK):
        return f"{packet.opcode.name} {packet.wire if packet.index is None else packet.index}"
    return packet.opcode.name
