"""The stream listeners, TCP and UNIX: from a connection to a child, without reading a byte of it.

Decided here: one connection is taken at each wake-up; who is turned away, and how. Somebody who connects is
really there, unlike the sender of a datagram, so for want of a place there is an answer, "busy", unless TLS would have
to come first; networks that are not served get the end of the connection and no word.
"""

from __future__ import annotations

import contextlib
import errno
import random
import socket
import ssl
from collections.abc import Callable, Hashable
from itertools import count

from blockstep.protocol.errors import ErrorCode
from blockstep.protocol.framing import frame
from blockstep.protocol.wire import ErrorPacket
from blockstep_server.admission import Claim, Verdict, source_of
from blockstep_server.child import Body
from blockstep_server.children import Task
from blockstep_server.connection import Connection
from blockstep_server.listen import SockAddr, host_port, unmapped
from blockstep_server.report import TransferRecord
from blockstep_server.supervisor import Host
from blockstep_server.unix_socket import peer_credentials

__all__ = ["MakeConnectionBody", "StreamListener"]

MakeConnectionBody = Callable[[Connection], Body]
"""What a child shall do about a connection."""

_REST_S = 0.1
_NO_ROOM = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_BUSY = frame(ErrorPacket(ErrorCode.UNDEFINED, "the server is busy").to_bytes())


class StreamListener:
    """One listening stream socket, watched by a supervisor. With `tls`, connections speak it, in their children."""

    def __init__(
        self,
        sock: socket.socket,
        host: Host,
        make_body: MakeConnectionBody,
        *,
        tls: ssl.SSLContext | None = None,
        keep_fds: tuple[int, ...] = (),
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._sock = sock
        self._host = host
        self._make_body = make_body
        self._tls = tls
        self._keep_fds = keep_fds
        self._chance = chance
        self._numbers = count()
        self._is_unix = sock.family == socket.AF_UNIX
        self._local = str(sock.getsockname()) if self._is_unix else host_port(sock.getsockname())

    def fileno(self) -> int:
        """The listening socket's descriptor."""
        return self._sock.fileno()

    def close(self) -> None:
        """Stop listening; who waits in the queue is not served."""
        self._sock.close()

    @property
    def transport(self) -> str:
        """What the log calls it."""
        if self._is_unix:
            return "unix"
        return "tcp" if self._tls is None else "tls"

    def handle_readable(self) -> None:
        """Take one who waits; the loop calls again while there are more.

        One, because a crowd that connects must not keep a datagram waiting, and a turn of the loop costs nothing beside
        a fork: amid 200 connections the 99th percentile of a UDP request's first answer was 130 ms with eight at a
        time, 49 with two, 29 with one (bench/stream_crowd.py).
        """
        try:
            sock, address = self._sock.accept()
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno in _NO_ROOM:  # it stays in the queue, and we would be called for it without end
                self._host.refuse(f"for want of resources ({error.strerror})", self._local)
                self._host.rest(self, _REST_S)
            return  # else that connection is gone already
        with sock:
            self._try(sock, address if self._is_unix else unmapped(address))

    def _try(self, sock: socket.socket, address: SockAddr) -> None:
        peer = ""
        try:
            peer, source = self._who(sock, address)
            self._take(sock, source, peer, address)
        except OSError as error:  # no process, or the peer is gone: this one is not served, the next may be
            self._host.refuse(f"for want of resources ({error.strerror})", peer or self._local)

    def _who(self, sock: socket.socket, address: SockAddr) -> tuple[str, Hashable]:
        """(name for the log, what counts as one client)."""
        if not self._is_unix:
            return host_port(address), source_of(address[0])
        pid, uid = peer_credentials(sock)
        return f"unix:pid={pid},uid={uid}", ("uid", uid)

    def _take(self, sock: socket.socket, source: Hashable, peer: str, address: SockAddr) -> None:
        if not self._is_unix and not self._host.admission.is_allowed(address[0]):
            self._host.refuse(Verdict.DENIED.value, peer)
            return
        claim = Claim(source, (self.transport, self.fileno(), next(self._numbers)))
        verdict = self._host.admission.judge_claim(claim, self._chance())
        if verdict is not Verdict.ACCEPTED:
            self._host.refuse(verdict.value, peer)
            self._say_busy(sock)
            return
        blank = TransferRecord(peer=peer, local=self._local, transport=self.transport)
        body = self._make_body(Connection(sock, blank, self._tls))
        self._host.spawn(Task(claim, body, blank, (*self._keep_fds, sock.fileno()), is_connection=True))

    def _say_busy(self, sock: socket.socket) -> None:
        if self._tls is None:
            with contextlib.suppress(OSError):  # it has room, nothing was sent before; or the peer is gone
                sock.send(_BUSY, socket.MSG_DONTWAIT)
