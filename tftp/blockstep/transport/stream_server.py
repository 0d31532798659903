"""The server's side of a stream: requests in, in order, each answered with blocks, with an offer to take them, or with
ERROR.

Decided here: a request must be complete `request_timeout_s` after it is waited for, so that a connection that only
trickles does not live long; one that has been served and says nothing more simply ends. What a request means (names,
policies, records) is the caller's: `serve_connection` runs the loop around it.
"""

from __future__ import annotations

import contextlib
import math
import socket
import time
from collections.abc import Callable
from typing import Protocol

from blockstep.protocol.errors import End, ErrorCode, RemoteError, TransferFailed
from blockstep.protocol.framing import frame
from blockstep.protocol.options import Agreed, Limits, negotiate
from blockstep.protocol.states import Role
from blockstep.protocol.stream import Requests, StreamReceiver, StreamSender, StreamTransfer
from blockstep.protocol.wire import ErrorPacket, Opcode, OptionAck, Request, ack_bytes, parse_request_untrusted
from blockstep.transport.files import Sink, Source
from blockstep.transport.pump import Progress, error_packet
from blockstep.transport.stream import IDLE_S, StreamConnection

__all__ = ["REQUEST_TIMEOUT_S", "Handler", "ServerStream", "serve_connection"]

REQUEST_TIMEOUT_S = 10.0


class ServerStream(StreamConnection):
    """A client's connection."""

    def __init__(
        self,
        sock: socket.socket,
        *,
        idle_s: float = IDLE_S,
        request_timeout_s: float = REQUEST_TIMEOUT_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(sock, idle_s=idle_s, clock=clock)
        self._request_timeout_s = request_timeout_s
        self._requests = Requests()
        self._served = 0

    def next_request(self) -> bytes | None:
        """The next request, not yet parsed; None when the client has ended the connection, or has nothing to ask.

        TransferFailed, with the client told and the connection closed, for anything else: PEER_BROKE_RULES for what is
        no request, TIMED_OUT for one that does not come, PEER_GONE for one that was broken off.
        """
        if not self.usable:
            return None
        try:
            self._await_request()
        except RemoteError as error:
            self.fail(error)
            raise TransferFailed(End.PEER_BROKE_RULES, str(error), error.code) from None
        except BaseException as failure:
            self.fail(failure)
            raise
        self._served += 1
        return self._requests.maybe_next()

    def refuse(self, failure: RemoteError | TransferFailed) -> None:
        """Answer the request with ERROR. The connection goes on, unless it breaks over this."""
        packet = error_packet(failure) or ErrorPacket(ErrorCode.UNDEFINED).to_bytes()
        try:
            self.channel.send(frame(packet))
        except TransferFailed:
            self.close()

    def answer_read(self, agreed: Agreed, oack: OptionAck | None) -> StreamSender:
        """Agree to a read; then `send`."""
        if oack is not None:
            self._answer(oack.to_bytes())
        return StreamSender(Role.SERVE_READ, agreed, self._requests)

    def answer_write(self, agreed: Agreed, oack: OptionAck | None) -> StreamReceiver:
        """Agree to a write; then `receive`."""
        self._answer(oack.to_bytes() if oack is not None else ack_bytes(0))
        return StreamReceiver(Role.SERVE_WRITE, agreed, self._requests)

    def _answer(self, packet: bytes) -> None:
        try:
            self.channel.send(frame(packet))
        except BaseException as failure:
            self.fail(failure)
            raise

    def _await_request(self) -> None:
        """Until one waits, or the client has ended the connection."""
        self.channel.deadline = self.clock() + self._request_timeout_s
        try:
            while not self._requests and self._took_something():
                pass
        except TransferFailed as failure:
            if failure.end not in (End.MAX_TIME, End.TIMED_OUT):
                raise
            if self._decoder.mid_frame or not self._served:
                text = f"no request came within {self._request_timeout_s:g} s"
                raise TransferFailed(End.TIMED_OUT, text, ErrorCode.UNDEFINED) from None
            self.close()
        finally:
            self.channel.deadline = math.inf

    def _took_something(self) -> bool:
        event = self._decoder.poll_event()
        if isinstance(event, bytes):
            if event[:2] == b"\0\5":  # no transfer is left to end: the client leaves
                self.close()
                return False
            self._requests.push_untrusted(event)
            return True
        if event is not None:
            raise RemoteError(ErrorCode.ILLEGAL_OPERATION, "DATA where a request is due")
        got = self.channel.receive(self._decoder.space())
        self._decoder.received(got)
        if not got:
            self._require_whole_frames()
            self.close()
        return got > 0


class Handler(Protocol):
    """What a server makes of requests. RemoteError and TransferFailed from the first two refuse the request."""

    @property
    def limits(self) -> Limits:
        """What is granted at most (`stream_limits`)."""

    def open_source(self, request: Request) -> Source:
        """The file to send."""

    def open_sink(self, request: Request, agreed: Agreed) -> Sink:
        """Where to put what is sent; `agreed.tsize` is the size that the client has announced."""

    def ended(
        self, request: Request | None, transfer: StreamTransfer | None, failure: RemoteError | TransferFailed | None
    ) -> None:
        """Called once for each request, and for a connection that was dropped without one (`request` None).

        `failure` is None for a file that arrived. `transfer` is None where the request was refused.
        """


def serve_connection(
    stream: ServerStream,
    handler: Handler,
    *,
    progress: Progress | None = None,
    max_time_s: float | None = None,
) -> None:
    """Serve requests until the connection ends; it is closed then. Never raises RemoteError or TransferFailed."""
    with stream:
        while True:
            try:
                raw = stream.next_request()
            except TransferFailed as failure:
                handler.ended(None, None, failure)
                return
            if raw is None:
                return
            _Service(stream, handler, progress, max_time_s).serve(raw)


class _Service:
    """One request from its bytes to its end."""

    def __init__(
        self, stream: ServerStream, handler: Handler, progress: Progress | None, max_time_s: float | None
    ) -> None:
        self._stream = stream
        self._handler = handler
        self._progress = progress
        self._max_time_s = max_time_s
        self._request: Request | None = None
        self._transfer: StreamTransfer | None = None

    def serve(self, request_untrusted: bytes) -> None:
        """Serve the request and have the handler told how it ended."""
        failure: RemoteError | TransferFailed | None = None
        try:
            self._request = request = parse_request_untrusted(request_untrusted)
            if request.opcode is Opcode.RRQ:
                self._read(request)
            else:
                self._write(request)
        except (RemoteError, TransferFailed) as error:
            failure = error
            if self._transfer is None and self._stream.usable:
                self._stream.refuse(error)
        self._handler.ended(self._request, self._transfer, failure)

    def _read(self, request: Request) -> None:
        with contextlib.closing(self._handler.open_source(request)) as source:
            agreed, oack = negotiate(request, self._handler.limits, source.size_bytes)
            self._transfer = sender = self._stream.answer_read(agreed, oack)
            self._stream.send(sender, source, progress=self._progress, max_time_s=self._max_time_s)

    def _write(self, request: Request) -> None:
        agreed, oack = negotiate(request, self._handler.limits, None)
        sink = self._handler.open_sink(request, agreed)
        try:
            self._transfer = receiver = self._stream.answer_write(agreed, oack)
        except BaseException:
            sink.abort()
            raise
        self._stream.receive(receiver, sink, progress=self._progress, max_time_s=self._max_time_s)
