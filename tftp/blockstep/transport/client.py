"""How a client finds its peer: the request goes to the server's well-known port, the answer names the real one.

RFC 1350 section 4: the first answer fixes the server's TID. Decided here: it must come from the address that was asked
(a forged answer would otherwise be stored as the file), unless the caller knows of a server that gets this wrong. From
then on a connected socket hears nobody else, and others who send to our port are told so (`udp.Endpoint`).
"""

from __future__ import annotations

import contextlib
import errno
import select
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass

from blockstep.protocol.errors import End, RemoteError, TransferFailed
from blockstep.protocol.opening import Opening
from blockstep.protocol.options import Wanted
from blockstep.protocol.timer import ResendTimer
from blockstep.protocol.wire import Request
from blockstep.transport.pump import error_packet
from blockstep.transport.recording import Recorder, endpoint_for
from blockstep.transport.udp import LOST, RECEIVE_BYTES, Endpoint

IP_RECVERR = 11
IPV6_RECVERR = 25

SocketAddress = tuple[str, int] | tuple[str, int, int, int]
# What this machine says itself when it may not or cannot send there at all.
_NO_WAY = frozenset({errno.ENETUNREACH, errno.ENETDOWN, errno.EACCES})


@dataclass(frozen=True, slots=True)
class Opened:
    """A transfer that the server has agreed to: where the peer is, what holds, and its first packet.

    `first` is empty where the answer was an OACK (`opening.by_oack`), which a reader acknowledges with ACK 0.
    """

    endpoint: Endpoint
    opening: Opening
    first: bytes


def open_udp(
    request: Request,
    wanted: Wanted,
    server: SocketAddress,
    *,
    timer: ResendTimer,
    patience_s: float | None = None,
    tries_elsewhere: bool = False,
    any_source: bool = False,
    clock: Callable[[], float] = time.monotonic,
    recorder: Recorder | None = None,
) -> Opened:
    """Send `request` to `server` (a numeric address with port) until it is answered. `recorder` notes all datagrams.

    For `patience_s`, or as long as the timer of the transfer says. That a host cannot be reached may change meanwhile,
    as when it is starting, and ends this at once only for a caller who `tries_elsewhere`.

    Raises TransferFailed: PEER_ERROR with the server's code, TIMED_OUT, PEER_GONE where no server listens or could be
    reached to the end, PEER_BROKE_RULES for an answer that the RFCs do not allow (the server is told).
    """
    family = socket.AF_INET6 if ":" in server[0] else socket.AF_INET
    asking = socket.socket(family, socket.SOCK_DGRAM)
    try:
        _prepare(asking)
        opening = Opening(request, wanted, timer, now=clock(), give_up_s=patience_s)
        asker = _Asking(asking, recorder, impatient=tries_elsewhere)
        first, source = _ask(asker, opening, _Server(server, any_source), clock)
        return Opened(endpoint_for(_connected(asking, source), asking, recorder), opening, first)
    except BaseException:
        asking.close()
        raise


@dataclass(frozen=True, slots=True)
class _Server:
    """Whom we ask, and whether somebody else may answer."""

    address: SocketAddress
    any_source: bool

    def may_be(self, source: SocketAddress) -> bool:
        """Whether an answer from `source` may be this server's: its address, any port."""
        return self.any_source or _packed(source) == _packed(self.address)


def _packed(address: SocketAddress) -> bytes:
    """The host's octets: an IPv6 address can be written in many ways."""
    host = address[0].partition("%")[0]
    return socket.inet_pton(socket.AF_INET6 if ":" in host else socket.AF_INET, host)


def _ask(asking: _Asking, opening: Opening, server: _Server, clock: Callable[[], float]) -> tuple[bytes, SocketAddress]:
    """The first answer (empty if it was an OACK) and who gave it."""
    poll = select.poll()
    poll.register(asking.sock, select.POLLIN)
    memory = bytearray(RECEIVE_BYTES)
    while True:
        now = clock()
        if now >= opening.next_deadline():
            asking.expire(opening, now)
        if (packet := opening.poll_request(now)) is not None:
            asking.send(packet, server.address)
        if not poll.poll(max(opening.next_deadline() - now, 0.0) * 1000):
            continue
        got, source = asking.receive(memory)
        if source is None or not server.may_be(source):
            continue
        try:
            answered = opening.handle_answer(memoryview(memory)[:got], clock())
        except RemoteError as error:
            with contextlib.suppress(OSError, TransferFailed):
                asking.send(error_packet(error) or b"", source)
            raise TransferFailed(End.PEER_BROKE_RULES, str(error), error.code) from None
        if answered:
            return b"" if opening.by_oack else bytes(memory[:got]), source


def _prepare(asking: socket.socket) -> None:
    """A fresh port; that nobody listens at the other end is reported at once."""
    _report_errors(asking, True)
    asking.bind(("", 0))
    asking.setblocking(False)


def _report_errors(asking: socket.socket, wanted: bool) -> None:
    """Whether what ICMP says reaches a socket that is connected to nobody."""
    with contextlib.suppress(OSError):
        if asking.family == socket.AF_INET6:
            asking.setsockopt(socket.IPPROTO_IPV6, IPV6_RECVERR, wanted)
        else:
            asking.setsockopt(socket.IPPROTO_IP, IP_RECVERR, wanted)


@dataclass(slots=True)
class _Asking:
    """The socket from which we ask, connected to nobody yet, and who notes what it carries.

    `hindrance` is why the server could not be reached when that was last known, None if nothing is known of it.
    """

    sock: socket.socket
    recorder: Recorder | None
    impatient: bool
    hindrance: OSError | None = None

    def expire(self, opening: Opening, now: float) -> None:
        """A deadline has come. TransferFailed when it was the last: with the reason, if one is known."""
        try:
            opening.handle_deadline(now)
        except TransferFailed:
            if self.hindrance is not None:
                raise _unreachable(self.hindrance) from self.hindrance
            raise

    def send(self, packet: bytes, server: SocketAddress) -> None:
        """Send one datagram. TransferFailed (PEER_GONE) when it is known that nobody can be reached."""
        if self.recorder is not None:
            self.recorder.sent(self.sock, server, packet)
        for may_be_of_another in (True, False):  # what ICMP has said of an earlier packet comes first
            try:
                self.sock.sendto(packet, server)
            except OSError as error:
                if error.errno in _NO_WAY and may_be_of_another:
                    self._forget_messages()
                    continue
                if error.errno in _NO_WAY:
                    raise _unreachable(error) from None
                if error.errno not in (errno.ENOBUFS, errno.EPERM, errno.EAGAIN):
                    self._hindered(error)
            return

    def receive(self, memory: bytearray) -> tuple[int, SocketAddress | None]:
        """One datagram into `memory`: its length and who sent it, (0, None) when there is none."""
        try:
            got, source = self.sock.recvfrom_into(memory)
        except BlockingIOError:
            return 0, None
        except OSError as error:
            self._hindered(error)
            return 0, None
        if self.recorder is not None:
            self.recorder.received(self.sock, source, memoryview(memory)[:got])
        return got, source

    def _hindered(self, error: OSError) -> None:
        if error.errno == errno.ECONNREFUSED:
            raise TransferFailed(End.PEER_GONE, "no server listens there") from None
        if error.errno not in LOST:
            raise error
        if self.impatient:
            raise _unreachable(error) from None
        self.hindrance = error
        self._forget_messages()

    def _forget_messages(self) -> None:
        """What ICMP has said; as long as that waits, poll would not. Only where there is such a queue (Linux)."""
        flag = getattr(socket, "MSG_ERRQUEUE", None)
        with contextlib.suppress(OSError):
            while flag is not None:
                self.sock.recvmsg(0, 0, flag | socket.MSG_DONTWAIT)


def _unreachable(why: OSError) -> TransferFailed:
    return TransferFailed(End.PEER_GONE, f"the server cannot be reached: {why.strerror}")


def _connected(asking: socket.socket, peer: SocketAddress) -> socket.socket:
    """A socket on our port that hears `peer` alone.

    Both must allow the sharing while the second is bound. It is not allowed earlier, for then the kernel could give one
    fresh port to two transfers, and not later, so that nobody else can join.
    """
    sock = socket.socket(asking.family, socket.SOCK_DGRAM)
    try:
        for shared in (sock, asking):
            shared.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(asking.getsockname())
        asking.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
        sock.connect(peer)
        _report_errors(asking, False)  # from now on it only answers strays, and a stray that is gone is no news
    except BaseException:
        sock.close()
        raise
    return sock
