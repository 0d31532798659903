"""Tests that read as sequence charts: a script says what comes in and what must go out, and its diff says what differs.

Lines of a script, spaces at either end do not count:

    <- DATA 3 4 5       these blocks arrive in one burst; `DATA 6:0` is block 6 with 0 bytes; `DATA 3, 4` are two bursts
    <- ACK 2            likewise `REQUEST`, `OACK`, `ERROR`, or `RAW` with hex digits
    -- deadline         time moves to the next deadline, and that is handled
    -- 0.25             time moves by so many seconds (and a deadline that falls into it is not handled)
    -- commit           the receiver's file has reached the disk
    -> DATA 1 2         what goes out, all that one input brings about on one line
    == dallying         the state has changed
    !! RemoteError 4    the input raised; for TransferFailed its end is named

Only lines with `<-` and `--` do something: the run writes the whole chart again, and `play` compares it with the
script. Each arrival takes a millisecond.
"""

from __future__ import annotations

import textwrap
from difflib import ndiff

from blockstep.protocol.arena import Arena
from blockstep.protocol.errors import LocalError, RemoteError, TransferFailed
from blockstep.protocol.options import Agreed
from blockstep.protocol.receiver import Receiver
from blockstep.protocol.sender import Sender
from blockstep.protocol.states import Role
from blockstep.protocol.timer import ResendTimer
from blockstep.protocol.wire import (
    Ack,
    Data,
    ErrorPacket,
    Opcode,
    OptionAck,
    Packet,
    Request,
    ack_bytes,
    parse_untrusted,
)
from support.drivers import Driver, ReceiveDriver, SendDriver

__all__ = ["ACK_0", "ARRIVAL_S", "OACK", "Play", "block", "content_of", "received", "receiving", "sending", "stats"]

ARRIVAL_S = 0.001
ACK_0 = ack_bytes(0)
OACK = OptionAck((("blksize", "8"),)).to_bytes()
_CONTROL = {
    "REQUEST": Request(Opcode.RRQ, "name", "octet").to_bytes(),
    "OACK": OACK,
    "ERROR": ErrorPacket(3, "disk full").to_bytes(),
}


def content_of(blocks: int, last_bytes: int, blksize: int = 8) -> bytes:
    """A file of `blocks` blocks, the last one with `last_bytes`; no two blocks of the first 65,536 are alike."""
    whole = b"".join(index.to_bytes(4, "big") * (blksize // 4) for index in range(1, blocks))
    return whole + b"L" * last_bytes


def block(index: int, size: int = 8) -> bytes:
    """The DATA packet of a block as `content_of` has it; the index is also the wire number."""
    payload = index.to_bytes(4, "big") * (size // 4) if size >= 8 else b"L" * size
    return Data(index & 0xFFFF, memoryview(payload)).to_bytes()


class Play:
    """One machine on its stage. `now` starts at 100 s."""

    def __init__(self, driver: Driver) -> None:
        self.driver = driver
        self.now = 100.0
        self.sent: dict[int, int] = {}
        self._lines: list[str] = []
        self._state = driver.machine.state

    def play(self, script: str) -> None:
        """Run the script; AssertionError with the difference where it went otherwise. May be called again to go on."""
        expected = [line.strip() for line in textwrap.dedent(script).strip().splitlines()]
        self._lines = []
        if expected and expected[0].startswith("->"):
            self._note_output(self.driver.flush(self.now))
        for line in expected:
            if line.startswith(("<-", "--")):
                self._lines.append(line)
                self._act(line[:2], line[3:])
        if self._lines != expected:
            raise AssertionError("\n".join(["the chart differs (- script, + run):", *ndiff(expected, self._lines)]))

    def _act(self, kind: str, what: str) -> None:
        try:
            out = self._come_in(what) if kind == "<-" else self._pass_time(what)
        except RemoteError as error:
            self._lines.append(f"!! RemoteError {int(error.code)}")
        except TransferFailed as error:
            self._lines.append(f"!! TransferFailed {error.end.name}")
        except LocalError:
            self._lines.append("!! LocalError")
        else:
            self._note_output(out)
        state = self.driver.machine.state
        if state is not self._state:
            self._state = state
            self._lines.append(f"== {state.value}")

    def _pass_time(self, what: str) -> list[bytes]:
        if what == "deadline":
            self.now = self.driver.machine.next_deadline()
            return self.driver.expire(self.now)
        if what == "commit":
            assert isinstance(self.driver, ReceiveDriver)
            self.driver.commit(self.now)
            return self.driver.flush(self.now)
        self.now += float(what)
        return []

    def _come_in(self, what: str) -> list[bytes]:
        self.now += ARRIVAL_S
        kind, *words = what.split(maxsplit=1)
        rest = words[0] if words else ""
        if kind == "DATA" and isinstance(self.driver, ReceiveDriver):
            out = []
            for burst in rest.split(","):
                packets = [_data(word) for word in burst.split()]
                out += self.driver.take_burst(b"".join(packets), len(packets[0]), self.now)
            return out
        return [packet for each in _packets(kind, rest) for packet in self.driver.take(each, self.now)]

    def _note_output(self, out: list[bytes]) -> None:
        words: list[str] = []
        for datagram in out:
            kind, number = _said(parse_untrusted(datagram))
            if kind == "DATA":
                self._check_data(datagram, int(number))
            if words and words[-1].startswith(kind) and number:
                words[-1] += f" {number}"
            else:
                words.append(f"{kind} {number}".rstrip())
        if words:
            self._lines.append("-> " + ", ".join(words))

    def _check_data(self, datagram: bytes, index: int) -> None:
        """The bytes are those of the file, the packet exactly as RFC 1350 writes it."""
        assert isinstance(self.driver, SendDriver)
        self.sent[index] = self.sent.get(index, 0) + 1
        size = self.driver.sender.arena.blksize
        payload = self.driver.content[(index - 1) * size : index * size]
        assert datagram == b"\0\3" + index.to_bytes(2, "big") + payload


def _data(word: str) -> bytes:
    index, _, size = word.partition(":")
    return block(int(index), int(size) if size else 8)


def _packets(kind: str, rest: str) -> list[bytes]:
    if kind == "ACK":
        return [ack_bytes(int(word)) for word in rest.split()]
    if kind == "DATA":
        return [_data(word) for word in rest.split()]
    if kind == "RAW":
        return [bytes.fromhex(rest)]
    return [_CONTROL[kind]]


def _said(packet: Packet) -> tuple[str, str]:
    if isinstance(packet, Data | Ack):
        return type(packet).__name__.upper(), str(packet.block)
    return {OptionAck: "OACK", Request: "REQUEST", ErrorPacket: "ERROR"}[type(packet)], ""


def sending(
    content: bytes,
    window: int = 1,
    *,
    role: Role = Role.PUT,
    opening: bytes | None = None,
    slots: int | None = None,
    rollover: int = 0,
) -> Play:
    """A sender of `content` in blocks of 8 bytes."""
    agreed = Agreed(blksize=8, windowsize=window, rollover=rollover)
    arena = Arena(slots or 2 * window, 8)
    return Play(SendDriver(Sender(role, agreed, ResendTimer(), arena=arena, now=100.0, opening=opening), content))


def receiving(
    window: int = 1,
    *,
    role: Role = Role.GET,
    opening: bytes | None = None,
    first_ack: bool = False,
    commit: bool = True,
    rollover: int = 0,
) -> Play:
    """A receiver of blocks of 8 bytes; with `commit` its disk is as fast as the network."""
    agreed = Agreed(blksize=8, windowsize=window, rollover=rollover)
    receiver = Receiver(role, agreed, ResendTimer(), now=100.0, opening=opening, first_ack=first_ack)
    return Play(ReceiveDriver(receiver, commit=commit))


def received(play: Play) -> bytes:
    """What a receiver has written."""
    assert isinstance(play.driver, ReceiveDriver)
    return bytes(play.driver.received)


def stats(play: Play) -> dict[str, int]:
    """The counters that are not 0."""
    counters = play.driver.machine.stats
    return {name: value for name in counters.__slots__ if (value := getattr(counters, name))}
