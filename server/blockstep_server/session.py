"""One request in a datagram, served from its bytes to its record, in whatever process this is called.

The order is the protocol's: parse, open below the root, negotiate, answer, move, settle. Decided here: that a request
which is refused gets exactly one ERROR, and which blocks need no fragments. What a request means is decided by `clerk`,
what happens once blocks move by the machines and `blockstep.transport.pump`; who may ask at all was decided before, by
`admission`.
"""

from __future__ import annotations

import contextlib
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import replace

from blockstep.protocol.arena import HEADER_BYTES
from blockstep.protocol.errors import End, RemoteError, TftpError, TransferFailed
from blockstep.protocol.machine import Machine
from blockstep.protocol.options import Agreed, Limits, negotiate
from blockstep.protocol.receiver import Receiver
from blockstep.protocol.sender import Sender
from blockstep.protocol.states import Role
from blockstep.protocol.timer import ResendTimer
from blockstep.protocol.wire import ErrorPacket, Opcode, Request, ack_bytes, parse_request_untrusted
from blockstep.transport.pump import Pump, ring_for, run_receiver, run_sender
from blockstep.transport.recording import endpoint_for
from blockstep.transport.udp import NEVER_NS, Endpoint
from blockstep_server.clerk import Account, Service
from blockstep_server.config import ServerConfig
from blockstep_server.reply import ReplySockets
from blockstep_server.report import TransferRecord
from blockstep_server.telling import Telling

__all__ = ["serve_request"]


def serve_request(
    request_untrusted: bytes,
    sockets: ReplySockets,
    service: Service,
    blank: TransferRecord,
    *,
    telling: Telling,
    clock: Callable[[], float] = time.monotonic,
) -> TransferRecord:
    """Serve one request over `sockets`, which are closed afterwards, and say what became of it. Never raises TftpError.

    `blank` is the record as far as it is known before the request has been read. `telling` hears how far it is, the
    record is for the caller to tell.
    """
    endpoint = endpoint_for(sockets.hot, sockets.stray, service.recorder)
    try:
        account = Account(blank, telling, clock=clock)
        session = _Session(endpoint, service, account, clock, shares_port=sockets.stray is None)
        return session.serve(request_untrusted)
    finally:
        endpoint.close()


class _Session:
    """What is known about one request so far."""

    def __init__(
        self, endpoint: Endpoint, service: Service, account: Account, clock: Callable[[], float], *, shares_port: bool
    ) -> None:
        self._endpoint = endpoint
        self._service = service
        self._account = account
        self._clock = clock
        self._shares_port = shares_port
        self._agreed = Agreed()
        self._settled = False
        self._request_untrusted = b""
        self._pump: Pump | None = None

    def serve(self, request_untrusted: bytes) -> TransferRecord:
        """Serve the request to its end, whichever that is."""
        failure: RemoteError | TransferFailed | None = None
        try:
            self._serve(request_untrusted)
        except RemoteError as error:
            self._settle()
            self._refuse(error)
            failure = error
        except TransferFailed as error:
            failure = error
            if error.end is End.TIMED_OUT:
                self._settle(NEVER_NS)  # it may have asked again because it did not hear us, and nobody can tell
        except OSError as error:
            failure = TransferFailed(End.PEER_GONE, f"the network failed: {error.strerror}")
        self._settle()
        if self._shares_port and self._pump is not None and self._pump.machine.next_request:
            self._account.left(self._pump.machine.next_request)
        return self._ended(failure)

    def _ended(self, failure: RemoteError | TransferFailed | None = None) -> TransferRecord:
        pump = self._pump
        return self._account.ended(
            failure,
            stats=pump.machine.stats if pump is not None else None,
            payload_bytes=_moved_bytes(pump),
            ended_at=pump.delivered_at if pump is not None else None,
            is_probe=self._was_probe(failure),
        )

    def _serve(self, request_untrusted: bytes) -> None:
        self._request_untrusted = request_untrusted
        request = parse_request_untrusted(request_untrusted)
        self._account.asked(request)
        if request.opcode is Opcode.RRQ:
            self._serve_read(request)
        else:
            self._serve_write(request)

    def _serve_read(self, request: Request) -> None:
        with contextlib.closing(self._service.open_source(request, confine=True)) as source:
            opening = self._negotiate(request, source.size_bytes)
            sender = Sender(
                Role.SERVE_READ,
                self._agreed,
                self._timer(),
                arena=ring_for(self._agreed, source.size_bytes),
                now=self._clock(),
                opening=opening,
            )
            run_sender(self._pump_for(sender), sender, source)

    def _serve_write(self, request: Request) -> None:
        opening = self._negotiate(request, None) or ack_bytes(0)
        sink = self._service.open_sink(request, self._agreed, confine=True)
        receiver = Receiver(Role.SERVE_WRITE, self._agreed, self._timer(), now=self._clock(), opening=opening)
        run_receiver(self._pump_for(receiver), receiver, sink)

    def _negotiate(self, request: Request, size_bytes: int | None) -> bytes | None:
        limits = _limits_for(self._service.config, self._endpoint.sock)
        self._agreed, oack = negotiate(request, limits, size_bytes)
        self._account.granted(oack)
        return None if oack is None else oack.to_bytes()

    def _timer(self) -> ResendTimer:
        config = self._service.config
        ceiling_s = self._agreed.timeout_s or config.timeout_s
        return ResendTimer(ceiling_s=ceiling_s, give_up_s=max(config.give_up_s, 2 * ceiling_s))

    def _pump_for(self, machine: Machine) -> Pump:
        self._account.began()
        self._endpoint.arrived_ns()  # from now on the kernel takes note
        if self._service.config.strict_source:
            machine.unproven_sends = 1
        if self._shares_port:
            machine.request = self._request_untrusted
        max_time_s = self._service.config.max_time_s
        self._pump = Pump(
            self._endpoint,
            machine,
            clock=self._clock,
            progress=self._progress,
            on_delivered=self._settle,
            max_time_s=max_time_s,
        )
        return self._pump

    def _settle(self, heard_ns: int | None = None) -> None:
        """Nothing more is wanted of the peer: what it asks from now on is new. Its last datagram came at `heard_ns`."""
        if not self._settled:
            self._settled = True
            self._account.settled(self._endpoint.arrived_ns() if heard_ns is None else heard_ns)

    def _progress(self, done_bytes: int, resends: int) -> None:
        if self._pump is not None and self._pump.machine.proven:
            self._account.proven()
        self._account.progress(done_bytes, resends)

    def _refuse(self, error: RemoteError) -> None:
        """One ERROR, short whatever the words: the address may be forged."""
        text = str(error).encode("ascii", "replace")[:_REFUSAL_TEXT_BYTES].decode("ascii")
        with contextlib.suppress(TftpError, OSError):
            self._endpoint.send(ErrorPacket(error.code, text).to_bytes())

    def _was_probe(self, failure: RemoteError | TransferFailed | None) -> bool:
        """The peer asked for the size, was told, and said no more than goodbye."""
        unproven = self._pump is not None and not self._pump.machine.proven
        said_goodbye = isinstance(failure, TransferFailed) and failure.end is End.PEER_ERROR
        return said_goodbye and unproven and self._account.told_the_size


def _moved_bytes(pump: Pump | None) -> int:
    return 0 if pump is None else pump.machine.stats.payload_bytes


# An ERROR packet of 64 bytes, less its head and its final NUL.
_REFUSAL_TEXT_BYTES = 64 - 5

# linux/in.h and linux/in6.h; the socket module does not have them.
_IP_MTU = 14
_IPV6_MTU = 24
_HEADERS = {socket.AF_INET: 20 + 8 + HEADER_BYTES, socket.AF_INET6: 40 + 8 + HEADER_BYTES}


def _limits_for(config: ServerConfig, sock: socket.socket) -> Limits:
    """The server's limits; with `mtu`, blocks that need no fragments on the way to this peer."""
    limits = config.limits
    mtu = _path_mtu(sock) if config.mtu == "auto" else config.mtu
    if mtu is None:
        return limits
    fitting = max(mtu - _HEADERS[sock.family], 8)
    return replace(limits, blksize_max=min(limits.blksize_max, fitting))


def _path_mtu(sock: socket.socket) -> int | None:
    """What the kernel believes of the path to the connected peer, or None if it does not say."""
    if sys.platform != "linux":
        return None
    level, option = (socket.IPPROTO_IPV6, _IPV6_MTU) if sock.family == socket.AF_INET6 else (socket.IPPROTO_IP, _IP_MTU)
    with contextlib.suppress(OSError):
        return sock.getsockopt(level, option)
    return None
