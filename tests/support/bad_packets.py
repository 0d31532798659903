"""What a peer may say once a transfer is under way, in one table for servers and clients, readers and writers.

`MIDDLE` and `WINDOWED` hold packets, each with the verdict of every role that may hear them; docs/protocol.md says it
in words. `OPENINGS` are answers to a request, which only a client hears; what a server hears there is in
`bad_requests`. `Peer` is the other end, by the book but for what a test puts into its mouth.
"""

from __future__ import annotations

import random
import socket
from collections.abc import Mapping
from dataclasses import dataclass

from blockstep.protocol.errors import ErrorCode
from blockstep.protocol.states import Role
from blockstep.protocol.wire import Ack, Data, ErrorPacket, OptionAck, Packet, ack_bytes, parse_untrusted

__all__ = [
    "AFTER_THE_END",
    "BLKSIZE",
    "ESCAPES",
    "MIDDLE",
    "OPENINGS",
    "STRANGERS_SAY",
    "WINDOWED",
    "Bad",
    "Opening",
    "Peer",
    "Said",
    "Verdict",
    "ack",
    "blocks_of",
    "data",
    "error",
    "oack",
]

BLKSIZE = 512
ILLEGAL, OPTION = ErrorCode.ILLEGAL_OPERATION, ErrorCode.OPTION_REFUSED


@dataclass(frozen=True, slots=True)
class Said:
    """The peer itself has ended it, with an ERROR of this code; it gets not a word more."""

    code: int


Verdict = ErrorCode | Said | None
"""It ends the transfer and is answered with this ERROR; it was an ERROR; or it is passed over and all goes on."""


@dataclass(frozen=True, slots=True)
class Bad:
    """Packets, and what becomes of a transfer in which they come."""

    packets: tuple[bytes, ...]
    verdicts: Mapping[Role, Verdict]


def data(number: int, payload: bytes) -> bytes:
    """A DATA packet."""
    return Data(number, memoryview(payload)).to_bytes()


def ack(number: int) -> bytes:
    """An ACK packet."""
    return ack_bytes(number)


def error(code: int, text: bytes = b"no\0") -> bytes:
    """An ERROR packet with this text, NUL and all."""
    return b"\0\5" + code.to_bytes(2, "big") + text


def oack(*fields: str | bytes) -> bytes:
    """An OACK packet; `fields` are option names and values in turn."""
    return b"\0\6" + b"".join((field.encode() if isinstance(field, str) else field) + b"\0" for field in fields)


def _to_all(verdict: Verdict, *packets: bytes) -> Bad:
    return Bad(packets, dict.fromkeys(Role, verdict))


def _to_receivers(verdict: Verdict, *packets: bytes) -> Bad:
    """DATA: a sender has no use for it."""
    senders = dict.fromkeys((Role.PUT, Role.SERVE_READ), ILLEGAL)
    return Bad(packets, {Role.GET: verdict, Role.SERVE_WRITE: verdict, **senders})


def _to_senders(verdict: Verdict, *packets: bytes) -> Bad:
    """ACK: a receiver has no use for it."""
    receivers = dict.fromkeys((Role.GET, Role.SERVE_WRITE), ILLEGAL)
    return Bad(packets, {Role.PUT: verdict, Role.SERVE_READ: verdict, **receivers})


def _from_servers(verdict: Verdict, *packets: bytes) -> Bad:
    """What only a server may say: a client judges, to a server it is an offence."""
    servers = dict.fromkeys((Role.SERVE_READ, Role.SERVE_WRITE), ILLEGAL)
    return Bad(packets, {Role.GET: verdict, Role.PUT: verdict, **servers})


def _from_clients(verdict: Verdict, *packets: bytes) -> Bad:
    """What only a client may say."""
    clients = dict.fromkeys((Role.GET, Role.PUT), ILLEGAL)
    return Bad(packets, {Role.SERVE_READ: verdict, Role.SERVE_WRITE: verdict, **clients})


def _noise(seed: int, count: int) -> tuple[bytes, ...]:
    """Datagrams that are nothing at all: no opcode begins like this."""
    chance = random.Random(seed)
    return tuple(bytes([chance.randrange(1, 256)]) + chance.randbytes(chance.randrange(600)) for _ in range(count))


ESCAPES = b"\x1b]0;owned\x07\x1b[2J\x1b[31mred\r\nroot: fake line\x9b\xe2\x80\xae\0"

_TRUNCATED: dict[str, Bad] = {
    "nothing at all": _to_all(ILLEGAL, b""),
    "one octet": _to_all(ILLEGAL, b"\0"),
    "opcode 0": _to_all(ILLEGAL, b"\0\0\0\1"),
    "opcode 7": _to_all(ILLEGAL, b"\0\7\0\1"),
    "opcode 256 + 3": _to_all(ILLEGAL, b"\1\3\0\2data"),
    "opcode 256 + 4": _to_all(ILLEGAL, b"\1\4\0\1"),
    "opcode 65535": _to_all(ILLEGAL, b"\xff\xff\0\1"),
    "DATA without a number": _to_all(ILLEGAL, b"\0\3"),
    "DATA with half a number": _to_all(ILLEGAL, b"\0\3\0"),
    "ACK without a number": _to_all(ILLEGAL, b"\0\4"),
    "ACK with half a number": _to_all(ILLEGAL, b"\0\4\0"),
    "ERROR without a code": _to_all(ILLEGAL, b"\0\5"),
    "ERROR with half a code": _to_all(ILLEGAL, b"\0\5\0"),
    "OACK without its last NUL": _to_all(ILLEGAL, b"\0\6blksize\x00512"),
    "OACK with half a pair": _to_all(ILLEGAL, oack("blksize")),
    "OACK of an option without a name": _to_all(ILLEGAL, oack("", "512", "blksize", "512")),
    "OACK of one option twice": _to_all(OPTION, oack("blksize", "512", "BLKSIZE", "1024")),
    "OACK of 2000 octets": _to_all(ILLEGAL, oack("x", "y" * 2000)),
    "read request, cut": _to_all(ILLEGAL, b"\0\1"),
    "read request without a mode": _to_all(ILLEGAL, b"\0\1file\0"),
    "write request without a NUL": _to_all(ILLEGAL, b"\0\2file"),
    "200 random datagrams": _to_all(ILLEGAL, *_noise(1, 200)),
}

_OUT_OF_PLACE: dict[str, Bad] = {
    "OACK again": _from_servers(None, oack()),
    "OACK that grants more": _from_servers(None, oack("blksize", "65464", "windowsize", "64", "tsize", "1")),
    "read request": _from_clients(None, b"\0\1good\0octet\0"),
    "write request with options": _from_clients(None, b"\0\2good\0octet\0blksize\x008\0"),
    "DATA of the past": _to_receivers(None, data(1, b"a" * BLKSIZE)),
    "DATA of the past, changed": _to_receivers(None, data(1, b"?" * BLKSIZE)),
    "DATA of the past, empty": _to_receivers(None, data(1, b"")),
    "DATA 0": _to_receivers(None, data(0, b"?" * BLKSIZE)),
    "DATA 65535": _to_receivers(None, data(65535, b"?" * BLKSIZE)),
    "DATA of the future": _to_receivers(None, data(3, b"?" * BLKSIZE)),
    "DATA of the future, short": _to_receivers(None, data(3, b"end")),
    "DATA of the far future": _to_receivers(None, data(32768, b"")),
    "DATA one octet too long": _to_receivers(ILLEGAL, data(2, b"?" * (BLKSIZE + 1))),
    "DATA of 60 kB": _to_receivers(ILLEGAL, data(2, b"?" * 60_000)),
    "DATA of the past, too long": _to_receivers(ILLEGAL, data(1, b"?" * (BLKSIZE + 1))),
    "ACK of the past": _to_senders(None, ack(0)),
    "ACK again": _to_senders(None, ack(1)),
    "ACK again, 100 times": _to_senders(None, *[ack(1)] * 100),
    "ACK with 500 octets behind it": _to_senders(None, ack(1) + bytes(500)),
    "ACK of the next block": _to_senders(None, ack(3)),
    "ACK of the far future": _to_senders(None, ack(32768)),
    "ACK 65535": _to_senders(None, ack(65535)),
}

_ERRORS: dict[str, Bad] = {
    **{f"ERROR {code}": _to_all(Said(code), error(code)) for code in (*range(10), 65535)},
    "ERROR without text": _to_all(Said(1), error(1, b"\0")),
    "ERROR without a NUL": _to_all(Said(2), error(2, b"no end")),
    "ERROR of four octets": _to_all(Said(3), error(3, b"")),
    "ERROR with 60 kB of text": _to_all(Said(0), error(0, b"a\x1b[31m" * 10_000 + b"\0")),
    "ERROR with terminal escapes": _to_all(Said(0), error(0, ESCAPES)),
    "ERROR with octets that are no text": _to_all(Said(0), error(0, bytes(range(255, 127, -1)) + b"\0")),
}

MIDDLE: dict[str, Bad] = {**_TRUNCATED, **_OUT_OF_PLACE, **_ERRORS}
"""In lock-step, with blocks of `BLKSIZE`, when block 1 has been acknowledged."""

WINDOWED: dict[str, Bad] = {
    "ACK of the window before": _to_senders(None, ack(1), ack(3)),
    "ACK of the window after": _to_senders(None, ack(9), ack(12)),
    "ACK before the beginning": _to_senders(None, ack(65535)),
    "DATA of the window before, changed": _to_receivers(None, *(data(number, b"?" * BLKSIZE) for number in (1, 2, 3))),
    "DATA of the window before, empty": _to_receivers(None, data(3, b"")),
    "DATA two windows ahead": _to_receivers(None, data(14, b"?" * BLKSIZE)),
    "DATA of the far future, empty": _to_receivers(None, data(40_000, b"")),
    "DATA one octet too long": _to_receivers(ILLEGAL, data(5, b"?" * (BLKSIZE + 1))),
    "DATA of 60 kB": _to_receivers(ILLEGAL, data(5, b"?" * 60_000)),
    "a good block, and behind it one too long": _to_receivers(
        ILLEGAL, data(5, b"?" * BLKSIZE), data(6, b"?" * (BLKSIZE + 1))
    ),
    "nothing at all": _to_all(ILLEGAL, b""),
    "200 random datagrams": _to_all(ILLEGAL, *_noise(4, 200)),
    "ERROR": _to_all(Said(3), error(3)),
}
"""With `windowsize` 4, when block 4 has been acknowledged."""

STRANGERS_SAY: tuple[bytes, ...] = (
    *(data(2, b"forged"), data(2, b""), ack(1), ack(2), ack(3), oack("blksize", "8"), b"", b"\0\7"),
    *(error(0), error(5), *_noise(2, 200)),
)
"""From another port or another address: nobody listens, whatever it is."""

AFTER_THE_END: dict[str, tuple[bytes, ...]] = {
    "its last words again": (),
    "an ERROR": (error(3),),
    "noise": _noise(3, 20),
    "DATA of another transfer": (data(9, b"?" * BLKSIZE), data(1, b"")),
    "DATA too long": (data(3, b"?" * 1000),),
    "ACK": (ack(0), ack(65535)),
    "OACK": (oack("blksize", "8"),),
}
"""Said behind the last ACK: the file is whole and stays it."""


@dataclass(frozen=True, slots=True)
class Opening:
    """A server's first words; `code` ends the transfer. To `role` alone, if that is not None."""

    packets: tuple[bytes, ...]
    code: ErrorCode
    role: Role | None = None


def _granting(option: str, *values: str) -> dict[str, Opening]:
    return {f"OACK with {option} {value[:24]!r}": Opening((oack(option, value),), OPTION) for value in values}


OPENINGS: dict[str, Opening] = {
    **{name: Opening(bad.packets, ILLEGAL) for name, bad in _TRUNCATED.items() if "twice" not in name},
    **_granting("blksize", "0", "7", "-1", "1429", "65464", "65465", "1e3", "0x200", "5_12", "", " 512", "512 "),
    **_granting("blksize", "\u0665\u0661\u0662", "\uff15\uff11\uff12", "99999999999999999999", "9" * 1000),
    **_granting("windowsize", "0", "17", "65535", "65536", "-1"),
    **_granting("timeout", "0", "1", "256"),
    **_granting("rollover", "0", "1"),
    **_granting("tsize", "-1", "x", "9223372036854775808"),
    **_granting("x-unknown", "1"),
    "OACK with options asked and not asked": Opening((oack("blksize", "512", "multicast", ""),), OPTION),
    "OACK of one option twice": Opening((oack("blksize", "512", "blksize", "512"),), OPTION),
    "OACK of 100 options": Opening((oack(*(f"{word}{n}" for n in range(100) for word in "ab")),), OPTION),
    "OACK of another size": Opening((oack("tsize", "5"),), OPTION, Role.PUT),
    "a read request": Opening((b"\0\1file\0octet\0",), ILLEGAL),
    "ACK 0": Opening((ack(0),), ILLEGAL, Role.GET),
    "ACK 1": Opening((ack(1),), ILLEGAL, Role.GET),
    "DATA 1": Opening((data(1, b"x"),), ILLEGAL, Role.PUT),
    "DATA 1 larger than 512": Opening((data(1, b"?" * 513),), ILLEGAL, Role.GET),
    "DATA 1 of 60 kB": Opening((data(1, b"?" * 60_000),), ILLEGAL, Role.GET),
}


def blocks_of(content: bytes) -> list[bytes]:
    """The payloads, the last of them shorter than `BLKSIZE`."""
    return [content[start : start + BLKSIZE] for start in range(0, len(content) + 1, BLKSIZE)]


class Peer:
    """The honest other end, over `sock`, which is the caller's. It never sends anything again: nothing is lost here."""

    def __init__(self, sock: socket.socket, address: tuple[str, int]) -> None:
        self.sock = sock
        self.address = address

    def say(self, *packets: bytes) -> None:
        """Send these."""
        for packet in packets:
            self.sock.sendto(packet, self.address)

    def hear(self) -> Packet:
        """What comes next, from whatever port it comes; it is answered there from now on."""
        datagram, self.address = self.sock.recvfrom(70_000)
        return parse_untrusted(datagram)

    def hear_error(self) -> int:
        """The code of the ERROR that comes, after whatever had been sent before."""
        while not isinstance(packet := self.hear(), ErrorPacket):
            assert isinstance(packet, Data | Ack | OptionAck), packet
        return packet.code

    def hear_oack(self) -> dict[str, str]:
        """The options that are granted."""
        packet = self.hear()
        assert isinstance(packet, OptionAck), packet
        return dict(packet.options)

    def send_blocks(self, blocks: list[bytes], first: int, last: int | None = None, *, window: int = 1) -> None:
        """Blocks `first` to `last`, each window of them until it has been acknowledged."""
        end = last or len(blocks)
        while first <= end:
            top = min(first + window - 1, end)
            self.say(*(data(number, blocks[number - 1]) for number in range(first, top + 1)))
            self.await_ack(top)
            first = top + 1

    def await_ack(self, number: int) -> None:
        """An ACK of this block; older ones are passed over."""
        while not (isinstance(packet := self.hear(), Ack) and packet.block == number):
            assert isinstance(packet, Ack), packet
            assert packet.block < number, packet

    def receive_blocks(self, first: int, last: int | None = None, *, window: int = 1) -> bytes:
        """The payload of blocks `first` to `last` or the end. Acknowledges windows, passes over copies of blocks."""
        content = b""
        while True:
            packet = self.hear()
            assert isinstance(packet, Data | OptionAck), packet
            if isinstance(packet, OptionAck) or packet.block != first:
                continue
            content += packet.payload
            ended = len(packet.payload) < BLKSIZE
            if ended or first % window == 0 or first == last:
                self.say(ack(first))
            if ended or first == last:
                return content
            first += 1
