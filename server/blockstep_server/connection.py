"""One connection, served from its first byte to its last, in whatever process this is called.

Decided here: what stands between a connected socket and the loop of `blockstep.transport.stream_server` (TLS, limits),
and what is told of a connection on which no request came: a line where something was wrong with it, nothing where the
peer came and went, or was sent away because the server stops. What a request means is decided by `clerk`, as it is for
datagrams.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass

from blockstep.protocol.errors import End, ErrorCode, RemoteError, TransferFailed
from blockstep.protocol.options import Agreed, Limits, negotiate
from blockstep.protocol.stream import StreamTransfer
from blockstep.protocol.wire import Request
from blockstep.transport.dial import set_up
from blockstep.transport.files import Sink, Source
from blockstep.transport.stream_server import ServerStream, serve_connection
from blockstep.transport.tls import wrap_server
from blockstep_server.child import uninterrupted
from blockstep_server.clerk import Account, Service
from blockstep_server.report import TransferRecord
from blockstep_server.telling import Telling

__all__ = ["Connection", "serve_stream"]


@dataclass(frozen=True, slots=True)
class Connection:
    """An accepted socket. `blank` is the record of a request on it before it is read; `tls` None: as it is."""

    sock: socket.socket
    blank: TransferRecord
    tls: ssl.SSLContext | None = None


def serve_stream(connection: Connection, service: Service, telling: Telling) -> None:
    """Serve the requests of a connection, which is closed afterwards. Each is told; nothing of TftpError is raised."""
    with contextlib.closing(connection.sock):
        try:
            _serve(connection, service, telling)
        except TransferFailed as failure:
            if failure.end is not End.STOPPED:  # that came between two requests
                telling.ended(Account(connection.blank, telling).ended(failure))


def _serve(connection: Connection, service: Service, telling: Telling) -> None:
    config = service.config
    sock = connection.sock
    with contextlib.suppress(OSError):  # a peer that is gone already is found out soon enough
        set_up(sock)
    if connection.tls is not None:
        sock = wrap_server(sock, connection.tls, timeout_s=config.request_timeout_s)
    stream = ServerStream(sock, idle_s=config.give_up_s, request_timeout_s=config.request_timeout_s)
    leave = stream.close if config.one_off else _stay
    handler = _Handler(service, connection.blank, telling, leave)
    serve_connection(stream, handler, progress=telling.progress, max_time_s=config.max_time_s)


def _stay() -> None:
    """The connection goes on after a request."""


class _Handler:
    """What `serve_connection` asks about requests: answered by the clerk, and told."""

    def __init__(self, service: Service, blank: TransferRecord, telling: Telling, leave: Callable[[], object]) -> None:
        self.limits: Limits = service.config.stream_limits
        self._service = service
        self._blank = blank
        self._telling = telling
        self._leave = leave
        self._account: Account | None = None

    def open_source(self, request: Request) -> Source:
        """The file to send."""
        account = self._begin(request)
        source = self._service.open_source(request)
        try:
            self._grant(account, request, source.size_bytes)
        except BaseException:
            source.close()
            raise
        return source

    def open_sink(self, request: Request, agreed: Agreed) -> Sink:
        """Where to put what is sent."""
        account = self._begin(request)
        sink = self._service.open_sink(request, agreed)
        self._grant(account, request, None)
        return sink

    def _begin(self, request: Request) -> Account:
        self._account = Account(self._blank, self._telling)
        self._account.asked(request)
        return self._account

    def _grant(self, account: Account, request: Request, size_bytes: int | None) -> None:
        """Note what is granted. Negotiating is a pure function: the answer is the one that the peer gets."""
        _agreed, oack = negotiate(request, self.limits, size_bytes)
        account.granted(oack)
        account.began()

    def ended(
        self, request: Request | None, transfer: StreamTransfer | None, failure: RemoteError | TransferFailed | None
    ) -> None:
        """Tell of it, whole and once, whatever signal comes."""
        with uninterrupted():
            account, self._account = self._account or Account(self._blank, self._telling), None
            if request is not None:
                account.asked(request)
            elif isinstance(failure, TransferFailed) and failure.end is End.STOPPED:
                return
            self._telling.ended(
                account.ended(
                    _as_refusal(request, failure),
                    stats=transfer.stats if transfer is not None else None,
                    payload_bytes=transfer.stats.payload_bytes if transfer is not None else 0,
                    is_probe=account.told_the_size and _declined(failure),
                )
            )
        self._leave()


def _declined(failure: RemoteError | TransferFailed | None) -> bool:
    """The peer ended it at the options (RFC 2347), which is how one asks for a size alone."""
    at_the_options = failure is not None and failure.code == ErrorCode.OPTION_REFUSED
    return at_the_options and isinstance(failure, TransferFailed) and failure.end is End.PEER_ERROR


def _as_refusal(
    request: Request | None, failure: RemoteError | TransferFailed | None
) -> RemoteError | TransferFailed | None:
    """What is no request at all is refused, as it is in a datagram."""
    if request is None and isinstance(failure, TransferFailed) and failure.end is End.PEER_BROKE_RULES:
        return RemoteError(ErrorCode(failure.code or 0), failure.detail)
    return failure
