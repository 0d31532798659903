"""Rules about requests, OACKs and who may answer.

Each rule is a generator over one transfer and yields the packet that breaks it with a sentence. Text from the capture
is escaped before it becomes part of a sentence. The RFCs on options have no section numbers; their headings are named.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from blockstep.protocol.options import (
    BLKSIZE_LARGEST,
    BLKSIZE_SMALLEST,
    TIMEOUT_LARGEST_S,
    WINDOWSIZE_LARGEST,
    decimal_untrusted,
)
from blockstep.protocol.wire import REQUEST_LARGEST, Opcode, OptionAck, Request, printable_untrusted
from blockstep_lab.trace.outcome import body_of
from blockstep_lab.trace.transfer import Found, Side, TracedPacket, Transfer

__all__ = ["OPTION_RULES"]

_RANGES = {
    "blksize": (BLKSIZE_SMALLEST, BLKSIZE_LARGEST, "RFC 2348"),
    "timeout": (1, TIMEOUT_LARGEST_S, "RFC 2349"),
    "windowsize": (1, WINDOWSIZE_LARGEST, "RFC 7440 section 3"),
}
# Options whose granted value may not be above the asked one, and those where it has to be the same.
_AT_MOST = frozenset({"blksize", "windowsize"})
_THE_SAME = frozenset({"timeout"})


def _requests(transfer: Transfer) -> Iterator[TracedPacket]:
    return (packet for packet in transfer.packets if isinstance(packet.content, Request))


def _oacks(transfer: Transfer) -> Iterator[tuple[TracedPacket, OptionAck]]:
    for packet in transfer.own_packets:
        if isinstance(packet.content, OptionAck) and packet.side is Side.SERVER:
            yield packet, packet.content


def _malformed(transfer: Transfer) -> Iterator[Found]:
    for packet in transfer.packets:
        if packet.error is not None:
            yield packet, str(packet.error)


def _other_address(transfer: Transfer) -> Iterator[Found]:
    for packet in transfer.packets:
        if packet.side is Side.SERVER and packet.tid.address != transfer.asked.address:
            yield packet, f"{transfer.asked.address} was asked, {packet.tid.address} answered"


def _request_too_long(transfer: Transfer) -> Iterator[Found]:
    for packet in _requests(transfer):
        if packet.length > REQUEST_LARGEST:
            yield packet, f"the request has {packet.length} octets, {REQUEST_LARGEST} are allowed"


def _asked_out_of_range(transfer: Transfer) -> Iterator[Found]:
    for packet in _requests(transfer):
        yield from ((packet, text) for text in _out_of_range(transfer.request.options))


def _granted_out_of_range(transfer: Transfer) -> Iterator[Found]:
    for packet, oack in _oacks(transfer):
        yield from ((packet, text) for text in _out_of_range(oack.options))


def _out_of_range(options: tuple[tuple[str, str], ...]) -> Iterator[str]:
    for name, text in options:
        if name not in _RANGES:
            continue
        smallest, largest, _ = _RANGES[name]
        value = decimal_untrusted(text)
        if value is None or not smallest <= value <= largest:
            yield f"{name} {printable_untrusted(text, 30)} is not in {smallest}-{largest}"


def _read_tsize_not_zero(transfer: Transfer) -> Iterator[Found]:
    tsize = dict(transfer.request.options).get("tsize")
    if not transfer.is_read or tsize is None or tsize == "0":
        return
    for packet in _requests(transfer):
        yield packet, f"a read asks with tsize 0, not {printable_untrusted(tsize, 30)}"


def _unasked_option(transfer: Transfer) -> Iterator[Found]:
    asked = dict(transfer.request.options)
    for packet, oack in _oacks(transfer):
        for name, value in oack.options:
            if name not in asked:
                yield packet, f"{printable_untrusted(name, 30)} {printable_untrusted(value, 30)} was not asked for"


def _granted_other_value(transfer: Transfer) -> Iterator[Found]:
    asked = {name: decimal_untrusted(value) for name, value in transfer.request.options}
    for packet, oack in _oacks(transfer):
        for name, text in oack.options:
            wanted, granted = asked.get(name), decimal_untrusted(text)
            if wanted is None or granted is None:
                continue
            if name in _AT_MOST and granted > wanted:
                yield packet, f"{name} {granted} granted, only {wanted} was asked for"
            elif granted != wanted and (name in _THE_SAME or (name == "tsize" and not transfer.is_read)):
                yield packet, f"{name} {granted} granted, {wanted} was asked for and must be kept"


def _wrong_tsize(transfer: Transfer) -> Iterator[Found]:
    blocks, last = body_of(transfer)
    if last is None or transfer.request.mode != "octet" or any(index not in blocks for index in range(1, last)):
        return
    octets = sum(blocks[index].length for index in range(1, last + 1))
    for packet, oack in _oacks(transfer):
        promised = decimal_untrusted(dict(oack.options).get("tsize", ""))
        if promised is not None and promised != octets:
            yield packet, f"tsize {promised} promised, {octets} octets sent"


def _data_before_oack_answer(transfer: Transfer) -> Iterator[Found]:
    """A read with an OACK waits for ACK 0 (RFC 2347, negotiation protocol)."""
    if not transfer.is_read:
        return
    offered = answered = False
    for packet in transfer.own_packets:
        if packet.opcode == Opcode.OACK:
            offered = True
        answered = answered or (packet.side is Side.CLIENT and packet.opcode == Opcode.ACK)
        if offered and not answered and packet.opcode == Opcode.DATA and packet.side is Side.SERVER:
            yield packet, f"DATA {packet.wire} sent before the client had answered the OACK"


OPTION_RULES: dict[str, tuple[str, Callable[[Transfer], Iterator[Found]]]] = {
    "malformed": ("RFC 1350 section 5", _malformed),
    "other-address": ("RFC 1122 section 4.1.3.5", _other_address),
    "request-too-long": ("RFC 2347, packet formats", _request_too_long),
    "asked-out-of-range": ("RFC 2348, RFC 2349, RFC 7440 section 3", _asked_out_of_range),
    "read-tsize-not-zero": ("RFC 2349, transfer size option", _read_tsize_not_zero),
    "unasked-option": ("RFC 2347, negotiation protocol", _unasked_option),
    "granted-out-of-range": ("RFC 2348, RFC 2349, RFC 7440 section 3", _granted_out_of_range),
    "granted-other-value": ("RFC 2348, RFC 2349, RFC 7440 section 3", _granted_other_value),
    "wrong-tsize": ("RFC 2349, transfer size option", _wrong_tsize),
    "data-before-oack-answer": ("RFC 2347, negotiation protocol", _data_before_oack_answer),
}
