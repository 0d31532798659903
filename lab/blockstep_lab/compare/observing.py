"""What is noted while a file arrives or leaves: when each byte came, how long nothing came, what was sent again.

Decided here: times are taken where the bytes reach their place (the sink) or leave the machine (the socket), on one
clock for both sides. Curves are thinned as they grow, so that a long transfer costs no more memory than a short one.
"""

from __future__ import annotations

import contextlib
import hashlib
import resource
import socket
import struct
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from blockstep.protocol.arena import HEADER_BYTES
from blockstep.transport.udp import Endpoint

__all__ = [
    "Curve",
    "MemorySource",
    "ObservedEndpoint",
    "ObservedSink",
    "TcpObserver",
    "cpu_s",
    "device_counts",
    "tcp_resends",
]

_ETHERNET_BYTES = 14
# struct tcp_info in linux/tcp.h, which only ever grows at its end.
_TCP_INFO_BYTES = 256
_TOTAL_RETRANS = struct.Struct("=I")
_TOTAL_RETRANS_AT = 100
_BYTES_ACKED = struct.Struct("=Q")
_BYTES_ACKED_AT = 120
_SAMPLE_EVERY_S = 0.005


class Curve:
    """Points (seconds, value), at most `limit` of them: when it is full, every second one goes, and so from then on."""

    def __init__(self, limit: int = 2000) -> None:
        self.points: list[tuple[float, int]] = []
        self._limit = limit
        self._keep_every = 1
        self._count = 0

    def add(self, at_s: float, value: int) -> None:  # hot path
        """One more point."""
        self._count += 1
        if self._count % self._keep_every:
            return
        self.points.append((at_s, value))
        if len(self.points) >= self._limit:
            self.points = self.points[1::2]
            self._keep_every *= 2

    def thinned(self, most: int, zero_s: float) -> tuple[tuple[float, int], ...]:
        """At most about `most` points, the last one always among them, with times from `zero_s` on."""
        step = max(1, -(-len(self.points) // most))
        kept = self.points[::step]
        if self.points and kept[-1] != self.points[-1]:
            kept.append(self.points[-1])
        return tuple((round(at_s - zero_s, 6), value) for at_s, value in kept)


class ObservedSink:
    """Keeps what arrives in memory and notes when; `content` is hashed after the end, outside of all times."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.content = bytearray()
        self.curve = Curve()
        self.first_at: float | None = None
        self.last_at: float | None = None
        self.longest_stall_s = 0.0
        self.committed_at: float | None = None
        self.cpu_at_commit_s = 0.0
        self._clock = clock

    @property
    def bytes_written(self) -> int:
        """Bytes so far."""
        return len(self.content)

    def writev(self, views: Sequence[memoryview]) -> None:  # hot path
        """Keeps the bytes."""
        now = self._clock()
        for view in views:
            self.content += view
        if self.last_at is None:
            self.first_at = now
        elif now - self.last_at > self.longest_stall_s:
            self.longest_stall_s = now - self.last_at
        self.last_at = now
        self.curve.add(now, len(self.content))

    def commit(self) -> None:
        """The file is whole: the time stops."""
        self.committed_at = self._clock()
        self.cpu_at_commit_s = cpu_s()

    def abort(self) -> None:
        """Nothing to undo."""

    def sha256(self) -> str:
        """Of what arrived."""
        return hashlib.sha256(self.content).hexdigest()


class MemorySource:
    """A file in memory, so that no disk stands between the transports."""

    def __init__(self, content: bytes) -> None:
        self._rest = memoryview(content)
        self.size_bytes = len(content)

    def readv(self, views: Sequence[memoryview]) -> int:
        """Fills the views in order."""
        done = 0
        for view in views:
            part = self._rest[done : done + len(view)]
            view[: len(part)] = part
            done += len(part)
        self._rest = self._rest[done:]
        return done

    def close(self) -> None:
        """Nothing to let go of."""


class ObservedEndpoint(Endpoint):
    """An endpoint that notes which bursts of DATA went out before, as (time, offset in the file)."""

    def __init__(self, sock: socket.socket, *, blksize: int, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(sock)
        self.resends = Curve()
        self.resent_blocks = 0
        self.clock = clock
        self._blksize = blksize
        self._highest = 0

    def send_burst(self, view: memoryview, start: int, end: int) -> None:  # hot path
        """As an endpoint does."""
        wire = view[start + 2] << 8 | view[start + 3]
        first = self._highest + ((wire - self._highest + 0x8000) & 0xFFFF) - 0x8000
        count = -(-(end - start) // (self._blksize + HEADER_BYTES))
        if first <= self._highest:
            self.resent_blocks += min(count, self._highest - first + 1)
            self.resends.add(self.clock(), (first - 1) * self._blksize)
        self._highest = max(self._highest, first + count - 1)
        super().send_burst(view, start, end)


class TcpObserver:
    """Looks at a TCP socket's counters every 5 ms in a thread, and notes when a segment was sent again and where."""

    def __init__(self, sock: socket.socket, clock: Callable[[], float] = time.monotonic) -> None:
        self.resends = Curve()
        self._sock = sock
        self._clock = clock
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread."""
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        before, stopped = 0, False
        while not stopped:
            stopped = self._stop.wait(_SAMPLE_EVERY_S)  # and look once more: what is counted at the end has its place
            info = _tcp_info(self._sock)
            if info is None:
                return
            resent, acked = info
            if resent > before:
                self.resends.add(self._clock(), acked)
            before = resent


def tcp_resends(sock: socket.socket) -> int | None:
    """Segments that a TCP socket has sent again; None where the system does not say."""
    info = _tcp_info(sock)
    return None if info is None else info[0]


def _tcp_info(sock: socket.socket) -> tuple[int, int] | None:
    """Segments sent again and bytes acknowledged."""
    with contextlib.suppress(OSError, struct.error, AttributeError):
        raw = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_BYTES)
        return _TOTAL_RETRANS.unpack_from(raw, _TOTAL_RETRANS_AT)[0], _BYTES_ACKED.unpack_from(raw, _BYTES_ACKED_AT)[0]
    return None


def cpu_s() -> float:
    """User and system time of this process so far."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def device_counts(device: str, *, has_ethernet: bool) -> tuple[int, int]:
    """Bytes of IP and packets that a device of this network namespace has sent, by the kernel's count."""
    for line in Path("/proc/self/net/dev").read_text().splitlines():
        name, _, numbers = line.partition(":")
        if name.strip() == device:
            sent = numbers.split()[8:10]
            size, packets = int(sent[0]), int(sent[1])
            return size - (_ETHERNET_BYTES * packets if has_ethernet else 0), packets
    return 0, 0
