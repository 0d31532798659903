"""Packets as bytes: parse what a peer sent, build what we send.

Rules of this file:

* It knows layouts, not meanings. Which option values are good is `options`, which packet may come now is the machines'.
* Whatever a peer sends becomes a value or a `RemoteError`; no other exception leaves a `*_untrusted` function. Error
  texts are ours alone, never an echo, and short enough that the whole ERROR packet stays within 64 octets.
* Mode and option names are case-insensitive *ASCII* (RFC 1350 section 5, RFC 2347), so they are lowered as bytes:
  `str.lower` would turn the Kelvin sign into a k. File names are bytes to the protocol; here they are UTF-8 with
  `surrogateescape`, which gives every byte string back unchanged.
* Building refuses (`LocalError`) what the layout cannot say. Only ERROR never refuses its text: it is often the last
  word of a transfer that already went wrong.

DATA has no place on this path when a transfer runs: the machines stamp and compare whole bursts. `Data` exists for
single packets (the slow path, the lab, tests).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from blockstep.protocol.errors import ErrorCode, LocalError, RemoteError

__all__ = [
    "ERROR_TEXT_LARGEST",
    "MODES",
    "REQUEST_LARGEST",
    "REQUEST_LARGEST_ACCEPTED",
    "WIRE_NUMBER_LARGEST",
    "Ack",
    "Buffer",
    "Data",
    "ErrorPacket",
    "Opcode",
    "OptionAck",
    "Options",
    "Packet",
    "Request",
    "ack_bytes",
    "parse_request_untrusted",
    "parse_untrusted",
    "printable_untrusted",
]

Buffer = bytes | bytearray | memoryview
Options = tuple[tuple[str, str], ...]

WIRE_NUMBER_LARGEST = 0xFFFF
# RFC 2347: a request packet has at most 512 octets. We hold to it when we ask, because some servers read no more.
REQUEST_LARGEST = 512
# What we take from others: one Ethernet frame without fragments. Boot loaders with long names do go over 512.
REQUEST_LARGEST_ACCEPTED = 1472
# Octets of ERROR text that are kept or sent. Some peers send kilobytes; nobody reads them.
ERROR_TEXT_LARGEST = 507

# The modes that a file can be moved in (RFC 1350 section 1).
MODES = frozenset({"netascii", "octet"})


class Opcode(IntEnum):
    """The first two octets of a packet (RFC 1350 section 5; OACK: RFC 2347)."""

    RRQ = 1
    WRQ = 2
    DATA = 3
    ACK = 4
    ERROR = 5
    OACK = 6


@dataclass(frozen=True, slots=True)
class Request:
    """RRQ or WRQ (RFC 1350 section 5, RFC 2347): `opcode filename 0 mode 0 (option 0 value 0)*`.

    `mode` and option names are lower-case, values are as sent; options stand in the order in which they were asked.
    """

    opcode: Opcode
    filename: str
    mode: str
    options: Options = ()

    def to_bytes(self) -> bytes:
        """The packet, at most 512 octets (RFC 2347); LocalError if it is longer or a field is empty or holds a NUL."""
        if self.opcode not in (Opcode.RRQ, Opcode.WRQ):
            raise LocalError(f"{self.opcode.name} is not a request")
        if not self.filename or not self.mode:
            raise LocalError("a request needs a file name and a mode")
        packet = _head(self.opcode) + _field(self.filename) + _field(self.mode) + _option_fields(self.options)
        if len(packet) > REQUEST_LARGEST:
            raise LocalError(f"the request has {len(packet)} octets, {REQUEST_LARGEST} may be sent (RFC 2347)")
        return packet


@dataclass(frozen=True, slots=True)
class Data:
    """DATA (RFC 1350 section 5): wire number and payload.

    After parsing, `payload` is a view of the datagram's buffer: it is valid until that buffer is used again.
    """

    block: int
    payload: memoryview

    def to_bytes(self) -> bytes:
        """The packet; LocalError if `block` is no wire number."""
        return _head(Opcode.DATA) + _wire_number(self.block) + self.payload


@dataclass(frozen=True, slots=True)
class Ack:
    """ACK (RFC 1350 section 5): the wire number of the last block that arrived in order (RFC 7440 for windows)."""

    block: int

    def to_bytes(self) -> bytes:
        """The packet, 4 octets; LocalError if `block` is no wire number."""
        return ack_bytes(self.block)


@dataclass(frozen=True, slots=True)
class ErrorPacket:
    """ERROR (RFC 1350 section 5 and appendix). `code` is 0-65535: a peer may send codes that nobody has defined.

    `message` is for people. From a peer it is raw: `printable_untrusted` before it meets a log or a terminal.
    """

    code: int
    message: str = ""

    def to_bytes(self) -> bytes:
        """The packet, its text cut at a NUL and at 507 octets (512 in all); LocalError only for a code over 16 bits."""
        text = self.message.encode("utf-8", "backslashreplace").partition(b"\0")[0][:ERROR_TEXT_LARGEST]
        return _head(Opcode.ERROR) + _wire_number(self.code) + text + b"\0"


@dataclass(frozen=True, slots=True)
class OptionAck:
    """OACK (RFC 2347): the options that the server takes, a subset of those that were asked for."""

    options: Options

    def to_bytes(self) -> bytes:
        """The packet; LocalError if a name is empty, stands twice, or a field holds a NUL."""
        return _head(Opcode.OACK) + _option_fields(self.options)


Packet = Request | Data | Ack | ErrorPacket | OptionAck


def parse_untrusted(datagram: Buffer) -> Packet:
    """The packet in one datagram, by layout alone: any mode, any option value, any error code.

    Taken although not by the book, because peers in the field do it: octets after an ACK, NUL padding after a request
    or an OACK, an ERROR without text or without its last NUL. Raises RemoteError: ILLEGAL_OPERATION for a bad layout,
    OPTION_REFUSED for an option that stands twice (RFC 2347 gives that no meaning, and two sides that choose
    differently would lose the file).
    """
    view = memoryview(datagram)
    if len(view) < 2:
        raise _malformed("packet without an opcode")
    opcode = view[0] << 8 | view[1]
    body = view[2:]
    if opcode in (Opcode.RRQ, Opcode.WRQ):
        return _request_untrusted(Opcode(opcode), body)
    if opcode == Opcode.OACK:
        return OptionAck(_options_untrusted(_fields_untrusted(body)))
    if opcode not in (Opcode.DATA, Opcode.ACK, Opcode.ERROR):
        raise _malformed("unknown opcode")
    if len(body) < 2:
        raise _malformed("packet too short")
    number = body[0] << 8 | body[1]
    if opcode == Opcode.ACK:
        return Ack(number)
    if opcode == Opcode.DATA:
        return Data(number, body[2:])
    return ErrorPacket(number, _error_text_untrusted(body[2:]))


def parse_request_untrusted(datagram: Buffer) -> Request:
    """The request in the first datagram of a transfer, in a mode that can be served: `octet` or `netascii`.

    Raises RemoteError(ILLEGAL_OPERATION) for every other packet, an empty name, an unknown mode, and `mail`, which
    RFC 1350 section 1 calls obsolete; OPTION_REFUSED as `parse_untrusted`. Whether an ERROR may be *sent* is the
    caller's business: an ERROR, ACK or DATA on a listening port gets none.
    """
    packet = parse_untrusted(datagram)
    if not isinstance(packet, Request):
        raise _malformed("not a request")
    if not packet.filename:
        raise _malformed("request without a file name")
    if packet.mode == "mail":
        raise _malformed("mail mode is obsolete, use octet or netascii")
    if packet.mode not in MODES:
        raise _malformed("unknown mode, use octet or netascii")
    return packet


def ack_bytes(wire_number: int) -> bytes:
    """An ACK packet (RFC 1350 section 5), 4 octets; LocalError unless 0 <= `wire_number` <= 65535."""
    return b"\0\4" + _wire_number(wire_number)


def printable_untrusted(text: str, limit: int = 200) -> str:
    r"""Peer text made safe for one line of a log or a terminal, at most `limit` (>= 3) characters, cut with `...`.

    Everything Unicode calls unprintable (controls, escapes, bidirectional marks, line separators, unassigned) becomes
    `\xNN`, `\uNNNN` or `\UNNNNNNNN`; a byte that was no UTF-8 becomes `\xNN`; a backslash is doubled, so that an escape
    can not be faked. An escape is never cut in half.
    """
    pieces = [_printable_character(character) for character in text[: limit + 1]]
    length = sum(map(len, pieces))
    if length <= limit:
        return "".join(pieces)
    while pieces and length > limit - 3:
        length -= len(pieces.pop())
    return "".join(pieces) + "..."


def _printable_character(character: str) -> str:
    if character == "\\":
        return "\\\\"
    if character.isprintable():
        return character
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # surrogateescape: the byte itself is what the peer sent
        code -= 0xDC00
    if code <= 0xFF:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def _malformed(text: str) -> RemoteError:
    return RemoteError(ErrorCode.ILLEGAL_OPERATION, text)


def _request_untrusted(opcode: Opcode, body: memoryview) -> Request:
    if len(body) + 2 > REQUEST_LARGEST_ACCEPTED:
        raise _malformed("request too long")
    fields = _fields_untrusted(body)
    if len(fields) < 2:
        raise _malformed("request without a mode")
    return Request(opcode, _text(fields[0]), _text(fields[1].lower()), _options_untrusted(fields[2:]))


def _fields_untrusted(body: memoryview) -> list[bytes]:
    """The NUL-terminated fields of a request or an OACK."""
    if not body:
        return []
    if len(body) > REQUEST_LARGEST_ACCEPTED:
        raise _malformed("packet too long")
    *fields, rest = bytes(body).split(b"\0")
    if rest:
        raise _malformed("text without its final NUL")
    return fields


def _options_untrusted(fields: list[bytes]) -> Options:
    """Pairs of name and value, names lowered. An empty name ends the list if nothing but NULs follows."""
    options: dict[bytes, bytes] = {}
    for at in range(0, len(fields), 2):
        name = fields[at].lower()
        if not name:
            if any(fields[at:]):
                raise _malformed("option without a name")
            break
        if at + 1 == len(fields):
            raise _malformed("option without a value")
        if name in options:
            raise RemoteError(ErrorCode.OPTION_REFUSED, "an option stands twice")
        options[name] = fields[at + 1]
    return tuple((_text(name), _text(value)) for name, value in options.items())


def _error_text_untrusted(body: memoryview) -> str:
    text = bytes(body[:ERROR_TEXT_LARGEST]).partition(b"\0")[0]
    return text.decode("utf-8", "backslashreplace")


def _text(field: bytes) -> str:
    return field.decode("utf-8", "surrogateescape")


def _head(opcode: Opcode) -> bytes:
    return opcode.to_bytes(2, "big")


def _wire_number(number: int) -> bytes:
    if not 0 <= number <= WIRE_NUMBER_LARGEST:
        raise LocalError(f"{number} does not fit into 16 bits")
    return number.to_bytes(2, "big")


def _field(text: str) -> bytes:
    try:
        field = text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        raise LocalError("text that cannot be written as UTF-8") from error
    if b"\0" in field:
        raise LocalError("a NUL character inside a field")
    return field + b"\0"


def _option_fields(options: Options) -> bytes:
    names = [_field(name) for name, _ in options]
    if b"\0" in names or len({name.lower() for name in names}) < len(names):
        raise LocalError("option names must not be empty and not stand twice")
    return b"".join(name + _field(value) for name, (_, value) in zip(names, options, strict=True))
