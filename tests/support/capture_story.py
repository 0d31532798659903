"""Captures told as a sequence of packets: `story.client(...)`, `story.server(...)`, then `story.read()`.

Every packet goes through the project's own writer and reader, so tests of what is made of a capture hold those too.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from blockstep.protocol.numbers import Numbering
from blockstep.protocol.wire import Ack, Data, ErrorPacket, Opcode, OptionAck, Request
from blockstep.transport.pcapng_writer import PcapngWriter
from blockstep_lab.trace.capture import Capture, read_capture
from blockstep_lab.trace.outcome import Outcome, outcome_of
from blockstep_lab.trace.rules import check
from blockstep_lab.trace.stalls import Stall, find_stalls
from blockstep_lab.trace.transfer import Transfer

__all__ = ["Story", "ack", "data", "error", "oack", "read_request", "write_request"]

Address = tuple[str, int]
_STEP_S = 0.0001


class Story:
    """Writes a capture to `path`. Each packet comes 0.1 ms after the one before it, unless `after_s` says otherwise."""

    def __init__(self, path: Path, host: str = "127.0.0.1") -> None:
        self.path = path
        self.client_end: Address = (host, 40000)
        self.asked: Address = (host, 69)
        self.tid: Address = (host, 50000)
        self._now_ns = 1_700_000_000_000_000_000
        self._writer = PcapngWriter(path)

    def request(self, packet: bytes, *, after_s: float = _STEP_S, lost: str = "") -> None:
        self._write(self.client_end, self.asked, packet, after_s, lost)

    def client(self, packet: bytes, *, after_s: float = _STEP_S, lost: str = "", tid: Address | None = None) -> None:
        self._write(self.client_end, tid or self.tid, packet, after_s, lost)

    def server(self, packet: bytes, *, after_s: float = _STEP_S, lost: str = "", tid: Address | None = None) -> None:
        self._write(tid or self.tid, self.client_end, packet, after_s, lost)

    def lock_step(self, first: int, last: int, blksize: int = 512) -> None:
        """The server sends full blocks `first` to `last`, the client acknowledges each."""
        for index in range(first, last + 1):
            self.server(data(index, blksize))
            self.client(ack(index))

    def save(self) -> Path:
        self._writer.close()
        return self.path

    def read(self) -> Capture:
        return read_capture(io.BytesIO(self.save().read_bytes()))

    def only_transfer(self) -> Transfer:
        (transfer,) = self.read().transfers
        return transfer

    def outcome(self) -> Outcome:
        return outcome_of(self.only_transfer())

    def stalls(self) -> list[Stall]:
        return find_stalls(self.only_transfer())

    def broken_rules(self) -> list[tuple[str, int, int]]:
        """Rule, first frame and count of each violation."""
        return [(found.rule, found.frame, found.count) for found in check(self.only_transfer())]

    def _write(self, source: Address, destination: Address, packet: bytes, after_s: float, lost: str) -> None:
        self._now_ns += round(after_s * 1e9)
        comment = f"lost: {lost}" if lost else ""
        self._writer.write(self._now_ns, source, destination, packet, comment=comment)


def read_request(name: str = "file", mode: str = "octet", /, **options: Any) -> bytes:
    return _request(Opcode.RRQ, name, mode, options)


def write_request(name: str = "file", mode: str = "octet", /, **options: Any) -> bytes:
    return _request(Opcode.WRQ, name, mode, options)


def _request(opcode: Opcode, name: str, mode: str, options: dict[str, Any]) -> bytes:
    return Request(opcode, name, mode, tuple((key, str(value)) for key, value in options.items())).to_bytes()


def oack(**options: Any) -> bytes:
    return OptionAck(tuple((key, str(value)) for key, value in options.items())).to_bytes()


def data(index: int, content: int | bytes = 512, rollover: int = 0) -> bytes:
    """DATA of a block index with this payload, or this many octets that depend on the index."""
    payload = bytes([index % 251]) * content if isinstance(content, int) else content
    return Data(Numbering(rollover).wire(index), memoryview(payload)).to_bytes()


def ack(index: int, rollover: int = 0) -> bytes:
    return Ack(Numbering(rollover).wire(index)).to_bytes()


def error(code: int, text: str = "") -> bytes:
    return ErrorPacket(code, text).to_bytes()
