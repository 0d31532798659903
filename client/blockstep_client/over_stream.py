"""A transfer on a connection: TCP, TLS or a UNIX socket, one file after another.

Decided here: a request on a connection that has been used before, and that the server has left meanwhile, is made again
on a new one, because nothing of it can have happened. ERROR 8 to a request with options is answered with the same
request without any, as it is in datagrams.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from typing import TypeVar

from blockstep.protocol.errors import End, ErrorCode, TransferFailed
from blockstep.protocol.machine import TransferStats
from blockstep.protocol.options import Agreed, Wanted
from blockstep.protocol.stream import StreamTransfer
from blockstep.protocol.wire import Opcode, Request
from blockstep.transport.files import Source
from blockstep.transport.stream_client import ClientStream
from blockstep_client.connections import Connections, Kept
from blockstep_client.errors import NotTrusted
from blockstep_client.exchange import MakeSink, Matter

__all__ = ["StreamExchange"]

_Transfer = TypeVar("_Transfer", bound=StreamTransfer)


class StreamExchange:
    """An `exchange.Exchange` over a stream."""

    srtt_s: float | None = None

    def __init__(self, matter: Matter, connections: Connections) -> None:
        self.peer: str | None = None
        self._matter = matter
        self._connections = connections
        self._transfer: StreamTransfer | None = None

    @property
    def agreed(self) -> Agreed:
        """What holds."""
        return self._transfer.agreed if self._transfer else Agreed()

    @property
    def stats(self) -> TransferStats:
        """What has moved."""
        return self._transfer.stats if self._transfer else TransferStats()

    @property
    def delivered(self) -> bool:
        """True when the file is whole."""
        return self._transfer is not None and self._transfer.delivered

    def get(self, make_sink: MakeSink) -> None:
        """Fetch the file."""
        stream, receiver = self._ask(Opcode.RRQ, 0, ClientStream.open_read)
        try:
            sink = make_sink(receiver.agreed)
        except BaseException as failure:
            receiver.fail()
            stream.fail(failure)
            raise
        stream.receive(receiver, sink, progress=self._matter.progress, max_time_s=self._matter.left_s())

    def put(self, source: Source) -> None:
        """Send the file."""
        stream, sender = self._ask(Opcode.WRQ, source.size_bytes, ClientStream.open_write)
        stream.send(sender, source, progress=self._matter.progress, max_time_s=self._matter.left_s())

    def _ask(
        self, opcode: Opcode, tsize: int | None, opens: Callable[[ClientStream, Request, Wanted], _Transfer]
    ) -> tuple[ClientStream, _Transfer]:
        matter = self._matter

        def ask(wanted: Wanted) -> tuple[Kept, _Transfer]:
            request = Request(opcode, matter.target.path, matter.mode, wanted.to_options())
            return self._ask_once(lambda stream: opens(stream, request, wanted), request)

        wanted = matter.settings.wanted_on_stream(tsize)
        try:
            kept, transfer = ask(wanted)
        except TransferFailed as failure:
            refused = failure.end is End.PEER_ERROR and failure.code == ErrorCode.OPTION_REFUSED
            if not refused or not wanted.to_options():
                raise
            matter.note(f'the server refuses options ("{failure.detail}"), asking without')
            kept, transfer = ask(Wanted())
        self.peer, self._transfer = kept.peer, transfer
        matter.note(f"{self.peer} agreed to blksize {transfer.agreed.blksize}")
        return kept.stream, transfer

    def _ask_once(self, opens: Callable[[ClientStream], _Transfer], request: Request) -> tuple[Kept, _Transfer]:
        """On the connection that there is, or if the server has left that, on a new one."""
        matter = self._matter
        kept = self._connections.to(matter.target, matter.expires_at)
        asked = ", ".join(f"{name}={value}" for name, value in request.options) or "no options"
        matter.note(f"asking {kept.peer} for {asked}")
        kept.stream.channel.deadline = matter.expires_at
        try:
            return kept, opens(kept.stream)
        except TransferFailed as failure:
            if failure.end is not End.PEER_GONE:
                raise
            if not kept.used:
                raise self._maybe_untrusted(failure) from failure
        matter.note(f"{kept.peer} has closed the connection, asking on a new one")
        kept = self._connections.to(matter.target, matter.expires_at)
        kept.stream.channel.deadline = matter.expires_at
        return kept, opens(kept.stream)

    def _maybe_untrusted(self, failure: TransferFailed) -> TransferFailed | NotTrusted:
        """In TLS 1.3 our handshake ends before the server judges our certificate: what it says then is about that."""
        cause = failure.__context__
        if not isinstance(cause, ssl.SSLError) or isinstance(cause, ssl.SSLEOFError):
            return failure
        said = (cause.reason or "no certificate that it takes").replace("_", " ").lower()
        return NotTrusted(f"the server does not accept this client: {said}", about_us=True)
