"""Load on a server: processes that fetch one file again and again until the time is over.

Decided here: a session is one process with one transfer at a time (on a stream with a connection for each, so that TCP
pays for what UDP pays for too), and a transfer that the end of the time cuts off counts for bytes and for nothing else.
Bytes are counted while they arrive, in memory that all processes share; ends of transfers come through a pipe. Not
known here: how it is told.
"""

from __future__ import annotations

import json
import mmap
import os
import select
import signal
import struct
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from blockstep.protocol.errors import End, LocalError, TftpError, TransferFailed
from blockstep.transport.dial import SocketAddress
from blockstep_lab.compare.receiving import fetch
from blockstep_lab.compare.transfer import Transfer
from blockstep_lab.netns.forked import fork_child, reap

__all__ = ["Ended", "Interval", "Load", "LoadResult", "put_load"]

_COUNTER = struct.Struct("=Q")
_PAUSE_AFTER_FAILURE_S = 0.05
_PATIENCE_S = 5.0
_LONGEST_REASON = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What is to be fetched from where, by how many at once, for how long; all times in seconds."""

    transfer: Transfer
    where: SocketAddress | Path
    sessions: int
    duration_s: float
    interval_s: float


@dataclass(frozen=True, slots=True)
class Ended:
    """A transfer that came to its end: when (seconds since the begin), how long it took, and why it failed, if so."""

    at_s: float
    took_s: float
    failure: str | None


@dataclass(frozen=True, slots=True)
class Interval:
    """What happened between two times, in seconds since the begin; `file_bytes` arrived in it."""

    start_s: float
    end_s: float
    file_bytes: int
    ok: int
    failed: int

    @property
    def bit_s(self) -> float:
        """Bits of the file per second."""
        span_s = self.end_s - self.start_s
        return self.file_bytes * 8 / span_s if span_s > 0 else 0.0


@dataclass(slots=True)
class LoadResult:
    """Everything that happened."""

    load: Load
    intervals: list[Interval] = field(default_factory=list)
    ended: list[Ended] = field(default_factory=list)

    @property
    def total(self) -> Interval:
        """The whole time as one interval."""
        end_s = self.intervals[-1].end_s if self.intervals else 0.0
        counts = [sum(getattr(each, name) for each in self.intervals) for name in ("file_bytes", "ok", "failed")]
        return Interval(0.0, end_s, *counts)


def put_load(load: Load, each_interval: Callable[[Interval], None]) -> LoadResult:
    """Runs it; `each_interval` hears of every interval when it is over. Ctrl-C ends the time early."""
    result = LoadResult(load)
    size = max(load.sessions * _COUNTER.size, mmap.PAGESIZE)
    with mmap.mmap(-1, size) as counters, _sessions(load, counters) as (ends, begun_at):
        watch = _Watch(result, counters, ends, begun_at)
        try:
            watch.go(each_interval)
        except KeyboardInterrupt:
            watch.close_interval(each_interval)
    return result


@contextmanager
def _sessions(load: Load, counters: mmap.mmap) -> Iterator[tuple[int, float]]:
    """The processes; gives the pipe's end to read from and when they began."""
    ends, theirs = os.pipe()
    begun_at = time.monotonic()
    pids: list[int] = []
    try:
        for number in range(load.sessions):
            session = _Session(load, _Counting(counters, number), theirs, begun_at)
            pids.append(fork_child(session.run))
        os.close(theirs)
        os.set_blocking(ends, False)
        yield ends, begun_at
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGTERM)
        for pid in pids:
            reap(pid, _PATIENCE_S)
        os.close(ends)


class _Watch:
    """The parent: closes an interval when its time has come, and reads what the sessions say meanwhile."""

    def __init__(self, result: LoadResult, counters: mmap.mmap, ends: int, begun_at: float) -> None:
        self._result = result
        self._counters = counters
        self._ends = ends
        self._begun_at = begun_at
        self._start_s = 0.0
        self._bytes = 0
        self._told = 0
        self._unread = b""

    def go(self, each_interval: Callable[[Interval], None]) -> None:
        """Until the time is over."""
        load = self._result.load
        step_s = load.interval_s or load.duration_s
        while self._start_s < load.duration_s - 1e-9:
            until_s = min(self._start_s + step_s, load.duration_s)
            while (left_s := self._begun_at + until_s - time.monotonic()) > 0:
                if select.select([self._ends], [], [], left_s)[0] and not self._read():
                    raise LocalError("every session has ended before its time")
            self.close_interval(each_interval)

    def close_interval(self, each_interval: Callable[[Interval], None]) -> None:
        """What happened since the last one."""
        self._read()
        now_s = time.monotonic() - self._begun_at
        arrived = sum(value for (value,) in _COUNTER.iter_unpack(self._counters[: self._size]))
        news = self._result.ended[self._told :]
        failed = sum(each.failure is not None for each in news)
        interval = Interval(self._start_s, now_s, arrived - self._bytes, len(news) - failed, failed)
        self._start_s, self._bytes, self._told = now_s, arrived, len(self._result.ended)
        self._result.intervals.append(interval)
        each_interval(interval)

    @property
    def _size(self) -> int:
        return self._result.load.sessions * _COUNTER.size

    def _read(self) -> bool:
        """What the sessions have said; False when all have gone."""
        try:
            chunk = os.read(self._ends, 1 << 16)
        except BlockingIOError:
            return True
        *lines, self._unread = (self._unread + chunk).split(b"\n")
        self._result.ended += [Ended(*json.loads(line)) for line in lines]
        return bool(chunk)


class _Session:
    """One process: fetches until its time is over or it is told to end."""

    def __init__(self, load: Load, sink: _Counting, ends: int, begun_at: float) -> None:
        self._load = load
        self._sink = sink
        self._ends = ends
        self._begun_at = begun_at

    def run(self) -> None:
        """The process's life."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        over_at = self._begun_at + self._load.duration_s
        while (now := time.monotonic()) < over_at:
            failure = self._fetch(now, over_at)
            if failure is None or failure:
                ended = (time.monotonic() - self._begun_at, time.monotonic() - now, failure)
                os.write(self._ends, json.dumps(ended).encode() + b"\n")
            if failure:
                time.sleep(_PAUSE_AFTER_FAILURE_S)

    def _fetch(self, now: float, over_at: float) -> str | None:
        """None for a file that came, the reason for one that did not, "" for one that the end cut off."""
        limit_s = min(self._load.transfer.max_time_s, over_at - now)
        try:
            fetch(replace(self._load.transfer, max_time_s=limit_s), self._load.where, self._sink, now)
        except TransferFailed as failure:
            if failure.end is End.MAX_TIME and time.monotonic() >= over_at:
                return ""
            return str(failure)[:_LONGEST_REASON]
        except (TftpError, OSError) as error:
            return str(error)[:_LONGEST_REASON]
        return None


class _Counting:
    """A sink that keeps nothing but the count, where the parent sees it."""

    def __init__(self, counters: mmap.mmap, number: int) -> None:
        self.bytes_written = 0
        self._counters = counters
        self._at = number * _COUNTER.size

    def writev(self, views: Sequence[memoryview]) -> None:  # hot path
        """Counts."""
        self.bytes_written += sum(map(len, views))
        _COUNTER.pack_into(self._counters, self._at, self.bytes_written)

    def commit(self) -> None:
        """Nothing to keep."""

    def abort(self) -> None:
        """Nothing to undo."""
