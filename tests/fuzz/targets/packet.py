"""The packet parser: a value or the peer's error, and what can be said again means the same."""

from __future__ import annotations

from blockstep.protocol.errors import LocalError, RemoteError
from blockstep.protocol.wire import (
    ERROR_TEXT_LARGEST,
    MODES,
    REQUEST_LARGEST,
    ErrorPacket,
    Packet,
    Request,
    parse_request_untrusted,
    parse_untrusted,
    printable_untrusted,
)

# An ERROR packet that refuses a request has 64 octets at most: its head takes 4, its last NUL 1.
_TEXT_LARGEST = 59


def one_input(data: bytes) -> None:
    """`data` is one datagram."""
    packet = _parsed(data)
    assert packet == _parsed(memoryview(bytearray(data))), "another kind of buffer is another packet"
    if packet is None:
        return
    if not _is_cut(packet) and (again := _said(packet)) is not None:
        assert parse_untrusted(again) == packet, "to_bytes says something else"
    if isinstance(packet, ErrorPacket):
        shown = printable_untrusted(packet.message)
        assert shown.isprintable(), "a terminal would obey"
        assert len(shown) <= 200
    _as_first_packet(data)


def _parsed(datagram: bytes | memoryview) -> Packet | None:
    try:
        return parse_untrusted(datagram)
    except RemoteError as error:
        assert len(str(error)) <= _TEXT_LARGEST, "the answer would be longer than promised"
        return None


def _is_cut(packet: Packet) -> bool:
    """An ERROR whose text has grown over what is sent, because bytes that are no UTF-8 were written out."""
    return isinstance(packet, ErrorPacket) and len(packet.message.encode()) > ERROR_TEXT_LARGEST


def _said(packet: Packet) -> bytes | None:
    """The packet as we would send it. A request may be too long for that, or have no name; nothing else may fail."""
    try:
        return packet.to_bytes()
    except LocalError:
        assert isinstance(packet, Request), "what was parsed cannot be built"
        size = sum(len(part.encode("utf-8", "surrogateescape")) + 1 for part in _parts(packet)) + 2
        assert size > REQUEST_LARGEST or not packet.filename or not packet.mode, "a good request cannot be built"
        return None


def _parts(request: Request) -> list[str]:
    return [request.filename, request.mode, *(part for option in request.options for part in option)]


def _as_first_packet(data: bytes) -> None:
    try:
        request = parse_request_untrusted(data)
    except RemoteError as error:
        assert len(str(error)) <= _TEXT_LARGEST
        return
    assert request.filename
    assert request.mode in MODES
    names = [name for name, _ in request.options]
    assert len(set(names)) == len(names), "an option stands twice"
