"""The sender's side of one transfer: a server for one request, in a process of its own.

Decided here: it serves one request and ends, from memory, and TCP uses the congestion control that it was told. The
machines, pumps and sockets are those of `blockstep serve`. Not known here: where the receiver is.
"""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from typing import Protocol

from blockstep.protocol.errors import ErrorCode, LocalError, RemoteError, TransferFailed
from blockstep.protocol.options import Agreed, Limits, negotiate
from blockstep.protocol.sender import Sender
from blockstep.protocol.states import Role
from blockstep.protocol.stream import StreamTransfer, stream_limits
from blockstep.protocol.timer import CEILING_S, GIVE_UP_S, ResendTimer
from blockstep.protocol.wire import Request, parse_request_untrusted
from blockstep.transport.dial import set_up
from blockstep.transport.files import Sink, Source
from blockstep.transport.pump import Pump, ring_for, run_sender
from blockstep.transport.stream_server import ServerStream, serve_connection
from blockstep_lab.compare.observing import (
    Curve,
    MemorySource,
    ObservedEndpoint,
    TcpObserver,
    cpu_s,
    tcp_resends,
)
from blockstep_lab.compare.transfer import POINTS, Points, Transfer
from blockstep_lab.simulation import GENEROUS

__all__ = ["Sent", "listen", "serve_one"]

# The sender outlasts the receiver, so that it is the receiver who says why.
_LONGER_S = 10.0
_REQUEST_BYTES = 2048


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """What the sender has to say. Times are on the machine's monotonic clock."""

    resends: int | None
    timeouts: int | None
    cpu_s: float
    wire_bytes: int
    wire_packets: int
    failure: str | None
    resend_points: Points


class _Service(Protocol):
    """Serves one request on a listening socket."""

    def serve(self, listener: socket.socket) -> None:
        """TransferFailed, RemoteError or OSError if the file did not get away."""

    def counted(self) -> tuple[int | None, int | None]:
        """Resends and timeouts."""

    def resends(self) -> Curve:
        """When what was sent again."""


def serve_one(transfer: Transfer, where: str, ready: int) -> Sent:
    """Serve one request at the address or socket path `where`; the port (0 for a path) is written to `ready`."""
    before, used_s = transfer.counts(), cpu_s()
    service: _Service = _Streaming(transfer) if transfer.is_stream else _Datagrams(transfer)
    failure = None
    with listen(transfer, where) as listener:
        port = 0 if transfer.transport == "unix" else listener.getsockname()[1]
        os.write(ready, f"{port}\n".encode())
        listener.settimeout(transfer.max_time_s + _LONGER_S)
        try:
            service.serve(listener)
        except (TransferFailed, RemoteError, OSError) as error:
            failure = str(error)
    after = transfer.counts()
    resends, timeouts = service.counted()
    return Sent(
        resends=resends,
        timeouts=timeouts,
        cpu_s=cpu_s() - used_s,
        wire_bytes=after[0] - before[0],
        wire_packets=after[1] - before[1],
        failure=failure,
        resend_points=service.resends().thinned(POINTS, 0.0),
    )


def listen(transfer: Transfer, where: str) -> socket.socket:
    """A socket for the one request. LocalError where TCP does not have the congestion control."""
    family = socket.AF_UNIX if transfer.transport == "unix" else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM if transfer.is_stream else socket.SOCK_DGRAM)
    try:
        if transfer.congestion is not None:
            _choose_congestion(sock, transfer.congestion)
        sock.bind(where if family == socket.AF_UNIX else (where, 0))
        if transfer.is_stream:
            sock.listen(1)
    except BaseException:
        sock.close()
        raise
    return sock


def _choose_congestion(sock: socket.socket, congestion: str) -> None:
    """Connections that are accepted have it too."""
    name = congestion.encode("ascii")
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, name)
        chosen = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16).rstrip(b"\0")
    except OSError as error:
        raise LocalError(f"TCP's congestion control {congestion!r} cannot be used here: {error.strerror}") from error
    if chosen != name:
        raise LocalError(f"TCP uses {chosen.decode('ascii', 'replace')}, not {congestion}")


class _Datagrams:
    """One read request over UDP, answered from a fresh port (RFC 1350 section 4)."""

    def __init__(self, transfer: Transfer) -> None:
        self._transfer = transfer
        self._sender: Sender | None = None
        self._endpoint: ObservedEndpoint | None = None

    def serve(self, listener: socket.socket) -> None:
        """Ends with the last ACK."""
        raw, peer = listener.recvfrom(_REQUEST_BYTES)
        request = parse_request_untrusted(raw)
        content = self._transfer.content
        agreed, oack = negotiate(request, GENEROUS, len(content))
        sock = socket.socket(listener.family, socket.SOCK_DGRAM)
        try:
            sock.bind((listener.getsockname()[0], 0))
            sock.connect(peer)
            self._endpoint = endpoint = ObservedEndpoint(sock, blksize=agreed.blksize)
            pump_clock = endpoint.clock
            ceiling_s = agreed.timeout_s or CEILING_S
            timer = ResendTimer(ceiling_s=ceiling_s, give_up_s=max(GIVE_UP_S, 2 * ceiling_s))
            self._sender = sender = Sender(
                Role.SERVE_READ,
                agreed,
                timer,
                arena=ring_for(agreed, len(content)),
                now=pump_clock(),
                opening=None if oack is None else oack.to_bytes(),
            )
            pump = Pump(endpoint, sender, clock=pump_clock, max_time_s=self._transfer.max_time_s + _LONGER_S)
            run_sender(pump, sender, MemorySource(content))
        finally:
            sock.close()

    def counted(self) -> tuple[int | None, int | None]:
        """The machine's own counters."""
        return (None, None) if self._sender is None else (self._sender.stats.resends, self._sender.stats.timeouts)

    def resends(self) -> Curve:
        """As the socket saw them."""
        return Curve() if self._endpoint is None else self._endpoint.resends


class _Streaming:
    """One connection, and the requests in it: a handler for `serve_connection`."""

    limits: Limits = stream_limits()

    def __init__(self, transfer: Transfer) -> None:
        self._transfer = transfer
        self._failure: RemoteError | TransferFailed | None = None
        self._resends: int | None = None
        self._curve = Curve()
        self._sock: socket.socket | None = None

    def serve(self, listener: socket.socket) -> None:
        """Ends with the connection."""
        self._sock = sock = listener.accept()[0]
        set_up(sock)
        observer = TcpObserver(sock) if self._transfer.transport == "tcp" else None
        try:
            serve_connection(ServerStream(sock), self, max_time_s=self._transfer.max_time_s + _LONGER_S)
        finally:
            if observer is not None:
                observer.stop()
                self._curve = observer.resends
        if self._failure is not None:
            raise self._failure

    def open_source(self, _request: Request) -> Source:
        """The file."""
        return MemorySource(self._transfer.content)

    def open_sink(self, _request: Request, _agreed: Agreed) -> Sink:
        """Nothing is taken."""
        raise RemoteError(ErrorCode.ACCESS_VIOLATION, "no files are taken here")

    def ended(
        self, _request: Request | None, _transfer: StreamTransfer | None, failure: RemoteError | TransferFailed | None
    ) -> None:
        """The kernel's counters go with the socket."""
        self._failure = failure
        if self._sock is not None and self._transfer.transport == "tcp":
            self._resends = tcp_resends(self._sock)

    def counted(self) -> tuple[int | None, int | None]:
        """The kernel's count; nothing times out that we could see."""
        return self._resends, None

    def resends(self) -> Curve:
        """As the kernel counted while we looked."""
        return self._curve
