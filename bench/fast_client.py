"""The client of all measurements: ours, in this process, at its fastest, and the same for every server.

Decided here: when the clock runs, which is from before the request is sent until the last byte has been handed to the
sink; that the client lingers afterwards in case its last ACK was lost is not counted. Bursts come in by GRO where the
window is more than one block. A server that cannot cut its sending into bursts gets the benefit of GRO all the same.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from blockstep.protocol.machine import TransferStats
from blockstep.protocol.options import Agreed, Wanted
from blockstep.protocol.receiver import Receiver
from blockstep.protocol.states import Role
from blockstep.protocol.timer import ResendTimer
from blockstep.protocol.wire import Opcode
from blockstep.protocol.wire import Request as WireRequest
from blockstep.transport.client import Opened, open_udp
from blockstep.transport.files import Sink
from blockstep.transport.pump import Pump, run_receiver

_RING_BYTES = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A file to fetch from a server; `max_time_s` bounds all of it."""

    address: tuple[str, int]
    name: str
    blksize: int = 512
    windowsize: int = 1
    max_time_s: float = 60.0


class TimedSink(Sink, Protocol):
    """A sink that knows when it had everything."""

    @property
    def committed_at(self) -> float | None:
        """The moment of `commit` on the monotonic clock."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """A file that has arrived: wall time, bytes, what the server granted, and what the client counted."""

    seconds: float
    size_bytes: int
    agreed: Agreed
    stats: TransferStats


class CountingSink:
    """Copies what it gets into a small ring of memory, which costs what a page cache costs but no new pages."""

    def __init__(self) -> None:
        self.bytes_written = 0
        self.committed_at = 0.0
        self._fd = os.memfd_create("bench")

    def writev(self, views: Sequence[memoryview]) -> None:
        """Take the bytes."""
        self.bytes_written += os.pwritev(self._fd, views, self.bytes_written % _RING_BYTES)

    def commit(self) -> None:
        """Stop the clock."""
        self.committed_at = time.monotonic()
        self.abort()

    def abort(self) -> None:
        """Free the memory."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


class CheckingSink:
    """Compares what it gets with what it should get; `wrong` tells whether anything differed, length included."""

    def __init__(self, expected: bytes) -> None:
        self.bytes_written = 0
        self.committed_at = 0.0
        self._expected = expected
        self._same = True

    @property
    def wrong(self) -> bool:
        """True unless exactly the expected bytes came."""
        return not self._same or self.bytes_written != len(self._expected)

    def writev(self, views: Sequence[memoryview]) -> None:
        """Compare the bytes."""
        got = b"".join(views)
        self._same = self._same and self._expected[self.bytes_written : self.bytes_written + len(got)] == got
        self.bytes_written += len(got)

    def commit(self) -> None:
        """Stop the clock."""
        self.committed_at = time.monotonic()

    def abort(self) -> None:
        """Nothing to free."""


def open_transfer(request: Request) -> Opened:
    """Ask the server. The answer may come from another address: some servers do that, and are measured too."""
    window = request.windowsize if request.windowsize != 1 else None
    # without any option for the defaults, as RFC 1350 has it; else blksize always, which tftpy answers unasked
    wanted = Wanted(blksize=request.blksize if window or request.blksize != 512 else None, windowsize=window)
    wire = WireRequest(Opcode.RRQ, request.name, "octet", wanted.to_options())
    timer = ResendTimer(give_up_s=request.max_time_s)
    return open_udp(wire, wanted, request.address, timer=timer, any_source=True)


def fetch(request: Request, sink: TimedSink) -> Fetched:
    """Fetch a file into `sink`. TransferFailed when it does not arrive whole within the time."""
    started_s = time.monotonic()
    opened = open_transfer(request)
    try:
        opening = opened.opening
        now = time.monotonic()
        receiver = Receiver(Role.GET, opening.agreed, opening.timer, now=now, first_ack=opening.by_oack)
        left_s = max(0.001, started_s + request.max_time_s - now)
        run_receiver(Pump(opened.endpoint, receiver, max_time_s=left_s), receiver, sink, opened.first)
    finally:
        opened.endpoint.close()
    ended_s = sink.committed_at or time.monotonic()
    return Fetched(ended_s - started_s, sink.bytes_written, opening.agreed, receiver.stats)
