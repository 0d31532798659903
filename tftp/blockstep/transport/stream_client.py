"""The client's side of a stream: ask, then receive or send, as often as the connection lasts.

A request that the server answers with ERROR leaves the connection as it was; every other failure closes it. Reaching
the server is the business of `dial` and `tls`.
"""

from __future__ import annotations

from collections.abc import Callable

from blockstep.protocol.errors import End, LocalError, RemoteError, TransferFailed
from blockstep.protocol.framing import DataHeader, Event, frame
from blockstep.protocol.options import Agreed, Wanted
from blockstep.protocol.stream import StreamOpening, StreamReceiver, StreamSender
from blockstep.protocol.stream_states import StreamState
from blockstep.protocol.wire import Request
from blockstep.transport.files import Sink, Source
from blockstep.transport.pump import Progress
from blockstep.transport.stream import StreamConnection

__all__ = ["ClientStream"]


class ClientStream(StreamConnection):
    """A connection to a server. Every failure is TransferFailed; `usable` says whether another request may follow."""

    def get(
        self,
        request: Request,
        wanted: Wanted,
        sink_for: Callable[[Agreed], Sink],
        *,
        progress: Progress | None = None,
        max_time_s: float | None = None,
    ) -> StreamReceiver:
        """Read a file. `sink_for` makes the sink once it is known what holds; `wanted` are the request's options."""
        receiver = self.open_read(request, wanted)
        try:
            sink = sink_for(receiver.agreed)
        except BaseException as failure:
            receiver.fail()
            self.fail(failure)
            raise
        self.receive(receiver, sink, progress=progress, max_time_s=max_time_s)
        return receiver

    def put(
        self,
        request: Request,
        wanted: Wanted,
        source: Source,
        *,
        progress: Progress | None = None,
        max_time_s: float | None = None,
    ) -> StreamSender:
        """Write a file. Closing `source` is the caller's."""
        sender = self.open_write(request, wanted)
        self.send(sender, source, progress=progress, max_time_s=max_time_s)
        return sender

    def open_read(self, request: Request, wanted: Wanted) -> StreamReceiver:
        """Ask to read; then `receive`, at once, because the blocks are on their way."""
        return self._ask(StreamOpening(request, wanted)).receiver()

    def open_write(self, request: Request, wanted: Wanted) -> StreamSender:
        """Ask to write; then `send`."""
        return self._ask(StreamOpening(request, wanted)).sender()

    def _ask(self, opening: StreamOpening) -> StreamOpening:
        if not self.usable:
            raise LocalError("the connection is closed")
        try:
            self.channel.send(frame(opening.packet))
            while opening.state is StreamState.ASKING:
                self._take_answer(opening)
        except BaseException as failure:
            if opening.state is not StreamState.REFUSED:
                self.fail(failure)
            if isinstance(failure, RemoteError):
                raise TransferFailed(End.PEER_BROKE_RULES, str(failure), failure.code) from None
            raise
        return opening

    def _take_answer(self, opening: StreamOpening) -> None:
        event = self._decoder.poll_event()
        if event is not None:
            _hand_over(opening, event)
            return
        got = self.channel.receive(self._decoder.space())
        if not got:
            self._require_whole_frames()
            opening.handle_closed()
        self._decoder.received(got)


def _hand_over(opening: StreamOpening, event: Event) -> None:
    if isinstance(event, bytes):
        opening.handle_packet_untrusted(event)
    elif isinstance(event, DataHeader):
        opening.handle_data(event)
