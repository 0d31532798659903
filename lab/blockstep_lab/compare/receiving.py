"""The receiver's side of one transfer: a client for one file, in a process of its own.

Decided here: the clock starts before the first packet (a connection is part of a transfer) and stops when the file is
whole in memory; waiting for a peer that may have missed the last ACK comes after that. The machines, pumps and sockets
are those of `blockstep get`. Not known here: who serves.
"""

from __future__ import annotations

import socket
import time
from dataclasses import dataclass
from pathlib import Path

from blockstep.protocol.errors import End, TftpError, TransferFailed
from blockstep.protocol.options import Wanted
from blockstep.protocol.receiver import Receiver
from blockstep.protocol.states import Role
from blockstep.protocol.stream import stream_wanted
from blockstep.protocol.timer import CEILING_S, GIVE_UP_S, ResendTimer
from blockstep.protocol.wire import Opcode, Request
from blockstep.transport.client import open_udp
from blockstep.transport.dial import SocketAddress, connect_tcp, connect_unix
from blockstep.transport.files import Sink
from blockstep.transport.pump import Pump, run_receiver
from blockstep.transport.stream_client import ClientStream
from blockstep_lab.compare.observing import ObservedSink, cpu_s
from blockstep_lab.compare.transfer import POINTS, Points, Transfer

__all__ = ["Received", "fetch", "fetch_one"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """What the receiver has to say; `points` are (seconds since `started_at`, bytes here). `sha256` of a whole file."""

    started_at: float
    total_s: float
    first_byte_s: float | None
    longest_stall_s: float | None
    file_bytes: int
    cpu_s: float
    wire_bytes: int
    wire_packets: int
    sha256: str | None
    failure: str | None
    over_time: bool
    points: Points


def fetch_one(transfer: Transfer, where: SocketAddress | Path) -> Received:
    """Get the file from a server at `where`. Never raises for a transfer that went wrong."""
    before, used_s = transfer.counts(), cpu_s()
    sink = ObservedSink()
    started_at = time.monotonic()
    failure: Exception | None = None
    try:
        fetch(transfer, where, sink, started_at)
    except (TftpError, OSError) as error:
        failure = error
    ended_at = sink.committed_at or time.monotonic()
    whole = sink.committed_at is not None
    used_s = (sink.cpu_at_commit_s if whole else cpu_s()) - used_s
    after = transfer.counts()
    return Received(
        started_at=started_at,
        total_s=ended_at - started_at,
        first_byte_s=None if sink.first_at is None else sink.first_at - started_at,
        longest_stall_s=None if sink.last_at is None else max(sink.longest_stall_s, ended_at - sink.last_at),
        file_bytes=len(sink.content),
        cpu_s=used_s,
        wire_bytes=after[0] - before[0],
        wire_packets=after[1] - before[1],
        sha256=sink.sha256() if whole else None,
        failure=None if failure is None or whole else str(failure),
        over_time=isinstance(failure, TransferFailed) and failure.end is End.MAX_TIME,
        points=sink.curve.thinned(POINTS, started_at),
    )


def fetch(transfer: Transfer, where: SocketAddress | Path, sink: Sink, started_at: float) -> None:
    """Get the file into `sink`. TransferFailed, LocalError or OSError if it does not come."""
    if transfer.is_stream:
        _fetch_stream(transfer, where, sink, started_at)
    elif isinstance(where, Path):
        raise ValueError(f"no datagrams go to the path {where}")
    else:
        _fetch_datagrams(transfer, where, sink, started_at)


def _fetch_stream(transfer: Transfer, where: SocketAddress | Path, sink: Sink, started_at: float) -> None:
    limit_s = transfer.max_time_s
    try:
        sock = (
            connect_unix(where, timeout_s=limit_s) if isinstance(where, Path) else connect_tcp(where, timeout_s=limit_s)
        )
    except TransferFailed as failure:
        raise _over_time(failure, started_at, limit_s) from None
    wanted = stream_wanted(blksize=transfer.blksize, tsize=0)
    request = Request(Opcode.RRQ, transfer.name, "octet", wanted.to_options())
    with ClientStream(sock, idle_s=max(limit_s, 1.0)) as stream:
        stream.channel.deadline = started_at + limit_s
        left_s = max(started_at + limit_s - time.monotonic(), 0.001)
        stream.get(request, wanted, lambda _agreed: sink, max_time_s=left_s)


def _connected(where: SocketAddress | Path, timeout_s: float) -> socket.socket:
    if isinstance(where, Path):
        return connect_unix(where, timeout_s=timeout_s)
    return connect_tcp(where, timeout_s=timeout_s)


def _fetch_datagrams(transfer: Transfer, where: SocketAddress, sink: Sink, started_at: float) -> None:
    limit_s = transfer.max_time_s
    wanted = Wanted(blksize=transfer.blksize, windowsize=transfer.windowsize, tsize=0)
    request = Request(Opcode.RRQ, transfer.name, "octet", wanted.to_options())
    timer = ResendTimer(ceiling_s=CEILING_S, give_up_s=min(GIVE_UP_S, limit_s))
    try:
        opened = open_udp(request, wanted, where, timer=timer)
    except TransferFailed as failure:
        raise _over_time(failure, started_at, limit_s) from None
    opening = opened.opening
    try:
        receiver = Receiver(Role.GET, opening.agreed, timer, now=time.monotonic(), first_ack=opening.by_oack)
        left_s = max(started_at + limit_s - time.monotonic(), 0.001)
        run_receiver(Pump(opened.endpoint, receiver, max_time_s=left_s), receiver, sink, opened.first)
    finally:
        opened.endpoint.close()


def _over_time(failure: TransferFailed, started_at: float, limit_s: float) -> TransferFailed:
    """Silence until the time is over is the time's fault."""
    if failure.end is End.TIMED_OUT and time.monotonic() >= started_at + limit_s:
        return TransferFailed(End.MAX_TIME, "no answer in time")
    return failure
