"""From an IP packet to the UDP datagram in it; fragments are put together.

Rules of this file: whatever is not whole, not UDP or not IP gives None and a count, never an error. Checksums are not
checked: on the sending machine the network card fills them in after the capture. Lengths are: a length field of 0 is
what segmentation offload leaves behind, and then the captured length stands in.

A datagram whose fragments are complete belongs to the frame of the fragment that completed it, as in Wireshark.
"""

from __future__ import annotations

import socket
import struct
from collections import Counter
from functools import lru_cache
from typing import NamedTuple

from blockstep_lab.trace.fragments import Fragment, Reassembler
from blockstep_lab.trace.frames import Frame
from blockstep_lab.trace.linklayer import Vantage, maybe_carried

__all__ = ["Datagram", "DatagramReader", "Endpoint"]

_UDP = 17
_UDP_HEADER = 8
_FRAGMENT_HEADER, _AUTHENTICATION_HEADER = 44, 51
# Hop-by-hop, routing, destination options, mobility, HIP, shim6: next header, length in units of 8 octets.
_EXTENSION_HEADERS = frozenset({0, 43, 60, 135, 139, 140})
_EXTENSION_HEADERS_MOST = 16


class Endpoint(NamedTuple):
    """One side of a transfer: an address as text and a UDP port, which TFTP calls a transfer identifier (TID)."""

    address: str
    port: int

    def __str__(self) -> str:
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"


class Datagram(NamedTuple):
    """One UDP datagram. `length` is its payload's on the wire; `payload` may be less if the capture kept less.

    `identity` tells a packet from the next one that looks the same: the IP header's identification field.
    """

    frame: int
    time_ns: int
    source: Endpoint
    destination: Endpoint
    payload: bytes
    length: int
    identity: int
    vantage: Vantage
    comment: str


class _Packet(NamedTuple):
    """What the IP header says. `body` is what was captured of `length` octets."""

    source: bytes
    destination: bytes
    protocol: int
    identity: int
    offset: int
    more: bool
    body: bytes
    length: int


class DatagramReader:
    """Frames in, UDP datagrams out. `skipped` counts the other frames by reason."""

    def __init__(self) -> None:
        self.skipped: Counter[str] = Counter()
        self._reassembler = Reassembler()

    def maybe_datagram(self, frame: Frame) -> Datagram | None:
        """The datagram that `frame` carries or completes."""
        found = self._read(frame)
        if isinstance(found, Datagram):
            return found
        self.skipped[found] += 1
        return None

    def _read(self, frame: Frame) -> Datagram | str:
        """The datagram, or why there is none."""
        carried = maybe_carried(frame)
        if carried is None:
            return "no IP, or an unknown link type"
        packet = _ip_packet(frame.data, carried.offset)
        if packet is None:
            return "damaged IP"
        if packet.protocol != _UDP:
            return "not UDP"
        if packet.offset or packet.more:
            packet = self._whole(packet, frame, carried.vantage)
            if packet is None:
                return "fragments"
        return _datagram(packet, frame, carried.vantage) or "damaged UDP"

    def _whole(self, packet: _Packet, frame: Frame, vantage: Vantage) -> _Packet | None:
        if len(packet.body) < packet.length:
            return None
        key = (packet.source, packet.destination, packet.identity, vantage)
        fragment = Fragment(packet.offset, packet.more, packet.body)
        body = self._reassembler.maybe_whole(key, fragment, frame.time_ns)
        if body is None:
            return None
        return packet._replace(offset=0, more=False, body=body, length=len(body))


def _ip_packet(data: bytes, at: int) -> _Packet | None:
    if at >= len(data):
        return None
    version = data[at] >> 4
    if version == 4:
        return _ipv4(data, at)
    return _ipv6(data, at) if version == 6 else None


def _ipv4(data: bytes, at: int) -> _Packet | None:
    if len(data) - at < 20:
        return None
    header = (data[at] & 15) * 4
    total, identity, fragment = struct.unpack_from(">HHH", data, at + 2)
    total = total or len(data) - at
    if header < 20 or total < header or len(data) - at < header:
        return None
    return _Packet(
        source=data[at + 12 : at + 16],
        destination=data[at + 16 : at + 20],
        protocol=data[at + 9],
        identity=identity,
        offset=(fragment & 0x1FFF) * 8,
        more=bool(fragment & 0x2000),
        body=data[at + header : at + total],
        length=total - header,
    )


def _ipv6(data: bytes, at: int) -> _Packet | None:
    if len(data) - at < 40:
        return None
    length, protocol = struct.unpack_from(">HB", data, at + 4)
    end = at + 40 + (length or len(data) - at - 40)
    source, destination = data[at + 8 : at + 24], data[at + 24 : at + 40]
    identity = offset = 0
    more = False
    at += 40
    for _ in range(_EXTENSION_HEADERS_MOST):
        if offset or not (protocol in _EXTENSION_HEADERS or protocol in (_FRAGMENT_HEADER, _AUTHENTICATION_HEADER)):
            break
        if len(data) - at < 8:
            return None
        following, units = data[at], data[at + 1]
        if protocol == _FRAGMENT_HEADER:
            place, identity = struct.unpack_from(">HI", data, at + 2)
            offset, more, units = place & 0xFFF8, bool(place & 1), 0
        at += (units + 2) * 4 if protocol == _AUTHENTICATION_HEADER else (units + 1) * 8
        protocol = following
    if at > end:
        return None
    return _Packet(source, destination, protocol, identity, offset, more, data[at:end], end - at)


def _datagram(packet: _Packet, frame: Frame, vantage: Vantage) -> Datagram | None:
    if len(packet.body) < _UDP_HEADER:
        return None
    source, destination, length = struct.unpack_from(">HHH", packet.body)
    length = length or packet.length
    if not _UDP_HEADER <= length <= packet.length:
        return None
    return Datagram(
        frame.number,
        frame.time_ns,
        _endpoint(packet.source, source),
        _endpoint(packet.destination, destination),
        packet.body[_UDP_HEADER:length],
        length - _UDP_HEADER,
        packet.identity,
        vantage,
        frame.comment,
    )


@lru_cache(maxsize=4096)
def _endpoint(address: bytes, port: int) -> Endpoint:
    """One object for all packets of an endpoint, as long as there are not too many."""
    return Endpoint(socket.inet_ntop(socket.AF_INET if len(address) == 4 else socket.AF_INET6, address), port)
