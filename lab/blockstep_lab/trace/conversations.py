"""From datagrams to transfers.

Rules of this file:

* A transfer starts with a valid request, on whatever port: RRQ or WRQ with a name and a mode that exists. Nothing else
  starts one, so a capture of anything may be read.
* Who answers the client's port becomes a TID of the transfer, from a fresh port or from the one that was asked. Several
  may answer (three equal requests start three sessions on many servers): the *peer* is the TID that the client first
  answers with anything but an ERROR; packets of the others are strays.
* A client that asks again from the same port starts anew: what could open a transfer (OACK, ERROR, DATA 1, ACK 0) is
  then of the new one, also from a TID of the old one; anything else from there is late.
* An equal request before the client has answered anybody is a resend; after that, or after an ERROR, it is a new
  transfer from the same port.
* A datagram longer than a block may be many: a sender with segmentation offload is captured before the cut.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable
from itertools import pairwise

from blockstep.protocol.errors import RemoteError
from blockstep.protocol.wire import (
    Ack,
    Data,
    ErrorPacket,
    Opcode,
    OptionAck,
    Packet,
    Request,
    parse_untrusted,
    printable_untrusted,
)
from blockstep_lab.trace.ip import Datagram, Endpoint
from blockstep_lab.trace.transfer import Side, Terms, TextEdges, TracedPacket, Transfer

__all__ = ["LOST_COMMENT", "Conversations", "Spool"]

# How a link says in a frame's comment that the packet went no further; the reason follows.
LOST_COMMENT = "lost:"

# Takes the payload of a DATA packet, gives the place where it was put.
Spool = Callable[[bytes], int]

_MODES = frozenset({"netascii", "octet", "mail"})
_LONE_CR = re.compile(rb"\r[^\n\0]", re.DOTALL)
_OPCODES: dict[type[Packet], Opcode] = {
    Data: Opcode.DATA,
    Ack: Opcode.ACK,
    ErrorPacket: Opcode.ERROR,
    OptionAck: Opcode.OACK,
}


class Conversations:
    """Datagrams in, `transfers` out; `others` counts the datagrams that belong to none."""

    def __init__(self, spool: Spool | None = None) -> None:
        self.transfers: list[Transfer] = []
        self.others = 0
        self._spool = spool
        self._by_pair: dict[tuple[Endpoint, Endpoint], Transfer] = {}
        self._by_client: dict[Endpoint, Transfer] = {}

    def add(self, datagram: Datagram) -> None:
        """Take the next datagram of the capture."""
        packet: Packet | RemoteError
        try:
            packet = parse_untrusted(datagram.payload)
        except RemoteError as error:
            packet = error
        if isinstance(packet, Request) and packet.filename and packet.mode in _MODES:
            self._add_request(datagram, packet)
            return
        found = self._maybe_transfer(datagram, packet)
        if found is None:
            self.others += 1
            return
        transfer, side = found
        if isinstance(packet, Data):
            for segment in _segments(datagram, transfer.terms.blksize):
                transfer.packets.append(self._data(transfer, side, datagram, segment))
        else:
            transfer.packets.append(_control(side, datagram, packet))
        if isinstance(packet, OptionAck) and side is Side.SERVER:
            transfer.terms = Terms.of(packet)

    def finish(self) -> list[Transfer]:
        """Call once, at the end of the capture: chooses each transfer's peer."""
        for transfer in self.transfers:
            transfer.peer = _peer(transfer)
            for packet in transfer.packets:
                is_request = isinstance(packet.content, Request)
                packet.stray = packet.tid != transfer.peer and not is_request and transfer.peer is not None
        return self.transfers

    def _add_request(self, datagram: Datagram, request: Request) -> None:
        client, asked = datagram.source, datagram.destination
        transfer = self._by_client.get(client)
        if transfer is None or transfer.asked != asked or transfer.request != request or not _is_open(transfer):
            transfer = Transfer(len(self.transfers) + 1, client, asked, request)
            self.transfers.append(transfer)
            self._by_client[client] = self._by_pair[client, asked] = transfer
        packet = _traced(Side.CLIENT, datagram, request.opcode)
        packet.content, packet.length = request, datagram.length
        transfer.packets.append(packet)

    def _maybe_transfer(self, datagram: Datagram, packet: Packet | RemoteError) -> tuple[Transfer, Side] | None:
        source, destination = datagram.source, datagram.destination
        newest = self._by_client.get(destination)
        if transfer := self._by_pair.get((destination, source)):
            if newest is None or newest is transfer or _is_answered(newest) or not _opens(packet):
                return transfer, Side.SERVER
            self._by_pair[destination, source] = newest
            return newest, Side.SERVER
        if transfer := self._by_pair.get((source, destination)):
            return transfer, Side.CLIENT
        if isinstance(packet, RemoteError):
            return None
        # A TID that was not seen before. Another address is believed only while the right one has said nothing.
        if newest is not None and (source.address == newest.asked.address or not _is_answered(newest)):
            self._by_pair[destination, source] = newest
            return newest, Side.SERVER
        if (transfer := self._by_client.get(source)) and destination.address == transfer.asked.address:
            self._by_pair[source, destination] = transfer
            return transfer, Side.CLIENT
        return None

    def _data(self, transfer: Transfer, side: Side, datagram: Datagram, segment: tuple[bytes, int]) -> TracedPacket:
        octets, length = segment
        payload = octets[4:]
        packet = _traced(side, datagram, Opcode.DATA)
        packet.wire = octets[2] << 8 | octets[3]
        packet.length = length - 4
        if len(octets) == length:
            packet.digest = zlib.crc32(payload)
            if self._spool is not None:
                packet.spooled = self._spool(payload)
            if transfer.request.mode == "netascii" and payload:
                packet.edges = TextEdges(payload[0], payload[-1], _LONE_CR.search(payload) is not None)
        return packet


def _is_answered(transfer: Transfer) -> bool:
    return any(packet.side is Side.SERVER for packet in transfer.packets)


def _opens(packet: Packet | RemoteError) -> bool:
    """True for what a server may say first."""
    if isinstance(packet, Data | Ack):
        return packet.block == (1 if isinstance(packet, Data) else 0)
    return isinstance(packet, OptionAck | ErrorPacket)


def _is_open(transfer: Transfer) -> bool:
    """True while the client may still repeat its request: it has answered nobody, and nobody has refused."""
    return all(
        isinstance(packet.content, Request) if packet.side is Side.CLIENT else packet.opcode != Opcode.ERROR
        for packet in transfer.packets
    )


def _peer(transfer: Transfer) -> Endpoint | None:
    answered = [
        packet.tid
        for packet in transfer.packets
        if packet.side is Side.CLIENT and packet.opcode in (Opcode.DATA, Opcode.ACK)
    ]
    heard = [packet.tid for packet in transfer.packets if packet.side is Side.SERVER]
    return next(iter(answered or heard), None)


def _traced(side: Side, datagram: Datagram, opcode: Opcode | None) -> TracedPacket:
    tid = datagram.destination if side is Side.CLIENT else datagram.source
    packet = TracedPacket(datagram.frame, datagram.time_ns, side, tid, opcode)
    if datagram.comment.startswith(LOST_COMMENT):
        packet.lost = printable_untrusted(datagram.comment.removeprefix(LOST_COMMENT).strip()) or "no reason given"
    return packet


def _control(side: Side, datagram: Datagram, content: Packet | RemoteError) -> TracedPacket:
    if isinstance(content, RemoteError):
        packet = _traced(side, datagram, None)
        packet.error = content
        return packet
    packet = _traced(side, datagram, content.opcode if isinstance(content, Request) else _OPCODES[type(content)])
    packet.content = content
    if isinstance(content, Ack):
        packet.wire = content.block
    return packet


def _segments(datagram: Datagram, blksize: int) -> list[tuple[bytes, int]]:
    """The DATA packets in a datagram with their lengths: one, or many if every stride of it starts the next block."""
    payload = datagram.payload
    whole = [(payload, datagram.length)]
    stride = blksize + 4
    if len(payload) <= stride or len(payload) < datagram.length:
        return whole
    segments = [payload[at : at + stride] for at in range(0, len(payload), stride)]
    wires = [
        segment[2] << 8 | segment[3] if segment[:2] == b"\0\3" and len(segment) >= 4 else -1 for segment in segments
    ]
    for before, wire in pairwise(wires):
        if wire != before + 1 and not (before == 0xFFFF and wire in (0, 1)):
            return whole
    return [(segment, len(segment)) for segment in segments]
