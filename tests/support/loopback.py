"""Two ends of a transfer on loopback, and files in memory for them: real sockets, real machines, real pump."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

from blockstep.protocol.options import Agreed
from blockstep.protocol.receiver import Receiver
from blockstep.protocol.sender import Sender
from blockstep.protocol.states import Role
from blockstep.protocol.timer import ResendTimer
from blockstep.transport.pump import Pump, ring_for, run_receiver, run_sender
from blockstep.transport.udp import UDP_GRO, UDP_SEGMENT, Endpoint

__all__ = [
    "MemorySink",
    "MemorySource",
    "calm",
    "has_offload",
    "in_background",
    "make_receiver",
    "make_sender",
    "move",
    "pair",
]


def has_offload() -> bool:
    """Whether this kernel cuts and joins datagrams (UDP_SEGMENT, UDP_GRO)."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            sock.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, 0)
            sock.setsockopt(socket.IPPROTO_UDP, UDP_GRO, 1)
        except OSError:
            return False
    return True


@contextmanager
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two sockets that are connected to each other; reads by the test itself give up after ten seconds."""
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as left,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as right,
    ):
        for sock in (left, right):
            sock.bind(("127.0.0.1", 0))
            sock.settimeout(10)
        left.connect(right.getsockname())
        right.connect(left.getsockname())
        yield left, right


@contextmanager
def in_background() -> Iterator[ThreadPoolExecutor]:
    """Threads for the other side; waits for them at the end."""
    with ThreadPoolExecutor(max_workers=4) as threads:
        yield threads


def calm() -> ResendTimer:
    """A timer that a busy machine does not set off: what a test counts then does not depend on the scheduler."""
    return ResendTimer(first_s=20, floor_s=20, ceiling_s=20, give_up_s=60)


@dataclass
class MemorySource:
    """A `Source` over bytes. With `failure` it raises that once `fails_at` bytes have been read."""

    content: bytes
    failure: BaseException | None = None
    fails_at: int = 0
    offset: int = 0
    closed: bool = False

    @property
    def size_bytes(self) -> int:
        return len(self.content)

    def readv(self, views: Sequence[memoryview]) -> int:
        got = 0
        for view in views:
            if self.failure is not None and self.offset >= self.fails_at:
                raise self.failure
            part = self.content[self.offset : self.offset + len(view)]
            view[: len(part)] = part
            self.offset += len(part)
            got += len(part)
        return got

    def close(self) -> None:
        self.closed = True


@dataclass
class MemorySink:
    """A `Sink` into a list of pieces. With `failure` its write or commit (`fails_at`) raises that."""

    failure: BaseException | None = None
    fails_at: str = "writev"
    pieces: list[bytes] = field(default_factory=list)
    committed: bool = False
    aborted: bool = False

    @property
    def content(self) -> bytes:
        return b"".join(self.pieces)

    @property
    def bytes_written(self) -> int:
        return sum(map(len, self.pieces))

    def writev(self, views: Sequence[memoryview]) -> None:
        if self.failure is not None and self.fails_at == "writev":
            raise self.failure
        self.pieces += [bytes(view) for view in views]

    def commit(self) -> None:
        if self.failure is not None and self.fails_at == "commit":
            raise self.failure
        self.committed = True

    def abort(self) -> None:
        self.aborted = not self.committed


def make_sender(agreed: Agreed, role: Role = Role.PUT, timer: ResendTimer | None = None) -> Sender:
    """A sender with the ring that the pump gives it."""
    return Sender(role, agreed, timer or calm(), arena=ring_for(agreed, None), now=time.monotonic())


def make_receiver(agreed: Agreed, timer: ResendTimer | None = None) -> Receiver:
    """The receiver of a client."""
    return Receiver(Role.GET, agreed, timer or calm(), now=time.monotonic())


@dataclass
class Moved:
    """Both ends after a transfer."""

    content: bytes
    sender: Sender
    receiver: Receiver
    out: Endpoint
    into: Endpoint


def move(
    content: bytes, agreed: Agreed, out: Endpoint, into: Endpoint, *, timers: Callable[[], ResendTimer] = calm
) -> Moved:
    """Send `content` from one endpoint to the other and return what arrived."""
    sender, receiver, sink = make_sender(agreed, timer=timers()), make_receiver(agreed, timers()), MemorySink()
    into.prepare_to_receive(receiver.stride, agreed.windowsize)  # the first burst may be here before the thread is
    with in_background() as threads:
        other: Future[None] = threads.submit(run_receiver, Pump(into, receiver), receiver, sink)
        run_sender(Pump(out, sender), sender, MemorySource(content))
        other.result()
    assert sink.committed
    return Moved(sink.content, sender, receiver, out, into)
