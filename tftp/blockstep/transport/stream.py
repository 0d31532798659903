"""The driver of a stream: one connection, transfers one after another, each a machine, a file and what it counts.

Decided here: who closes what. A transfer that fails once blocks may be on their way closes the connection, after the
peer has been told (`StreamConnection.fail`). While blocks go out the peer is heard between them, so that its ERROR is
noticed before the file has ended; and when a send fails, what it said last is looked for first, because that is the
reason and the broken connection only its consequence. The two sides have files of their own: `stream_client` and
`stream_server`.

Blocks are read into an arena and sent from it, and not with `sendfile`: that hands out the pages of the file itself, so
bytes that somebody rewrites after our last look at the file, while they wait in a socket buffer or on the way to the
receiver, would arrive rewritten, and the transfer would end well. The copy costs what docs/performance.md says.
"""

from __future__ import annotations

import contextlib
import math
import socket
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Self

from blockstep.protocol.errors import End, RemoteError, TransferFailed
from blockstep.protocol.framing import DataHeader, Event, FrameDecoder, frame
from blockstep.protocol.stream import StreamReceiver, StreamSender, StreamTransfer
from blockstep.protocol.stream_states import StreamState
from blockstep.transport.channel import Channel
from blockstep.transport.files import Sink, Source
from blockstep.transport.pump import REPORT_EVERY_S, Progress, error_packet

__all__ = ["IDLE_S", "StreamConnection"]

IDLE_S = 30.0
# The final ACK comes after the peer's disk has taken the whole file. Whether the peer still lives, the kernel watches.
SETTLE_AT_LEAST_S = 120.0


class StreamConnection:
    """One connection, either side. Takes over `sock`; as a context manager it is closed at the end.

    `idle_s` is how long nothing may move in a transfer that has not agreed on a `timeout`.
    """

    def __init__(
        self, sock: socket.socket, *, idle_s: float = IDLE_S, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.channel = Channel(sock, idle_s=idle_s, clock=clock)
        self.clock = clock
        self._idle_s = idle_s
        self._decoder = FrameDecoder()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def usable(self) -> bool:
        """True while another transfer may follow."""
        return not self.channel.closed

    def close(self) -> None:
        """Close the connection; may be called twice."""
        self.channel.close()

    def fail(self, failure: BaseException) -> None:
        """Tell the peer of `failure`, unless it knows, and close the connection."""
        packet = error_packet(failure)
        if packet is None:
            self.close()
        else:
            self.channel.farewell(frame(packet))

    def send(
        self,
        sender: StreamSender,
        source: Source,
        *,
        progress: Progress | None = None,
        max_time_s: float | None = None,
    ) -> None:
        """Send all of `source` and wait until the peer says that it is in its place; closing it is the caller's.

        TransferFailed when the file did not arrive; whatever is raised, the peer was told and the connection closed.
        """
        with self._moving(sender, progress, max_time_s) as report:
            try:
                self._send_all(sender, source, report)
            except TransferFailed as failure:
                if failure.end in (End.PEER_GONE, End.TIMED_OUT):
                    self._hear_last_words(sender)
                raise
            self._await_end(sender)

    def receive(
        self,
        receiver: StreamReceiver,
        sink: Sink,
        *,
        progress: Progress | None = None,
        max_time_s: float | None = None,
    ) -> None:
        """Receive into `sink`, commit it, and say so to the peer.

        TransferFailed when the file did not arrive whole; the sink is aborted then, the peer was told and the
        connection closed.
        """
        try:
            with self._moving(receiver, progress, max_time_s) as report:
                self._receive_all(receiver, sink, report)
                sink.commit()
                self.channel.send(frame(receiver.settled()))
        finally:
            sink.abort()  # does nothing after the commit

    @contextlib.contextmanager
    def _moving(
        self, transfer: StreamTransfer, progress: Progress | None, max_time_s: float | None
    ) -> Iterator[_Report]:
        """The limits of one transfer, its last report and its end. An offence becomes TransferFailed."""
        report = _Report(transfer, progress, self.clock)
        self._set_limits(transfer.agreed.timeout_s or self._idle_s, max_time_s)
        try:
            yield report
        except BaseException as failure:
            if transfer.delivered and isinstance(failure, TransferFailed | RemoteError):
                self.close()  # the file is whole and in its place: nothing that comes now can take that back
                return
            transfer.fail()
            self.fail(failure)
            if isinstance(failure, RemoteError):
                raise TransferFailed(End.PEER_BROKE_RULES, str(failure), failure.code) from None
            raise
        finally:
            report.last()
            self._set_limits(self._idle_s, None)

    def _set_limits(self, idle_s: float, max_time_s: float | None) -> None:
        self.channel.idle_s = idle_s
        self.channel.deadline = self.clock() + max_time_s if max_time_s else math.inf

    def _send_all(self, sender: StreamSender, source: Source, report: _Report) -> None:  # hot path
        channel, payloads = self.channel, sender.arena.payloads
        while sender.state is StreamState.MOVING:
            channel.send(sender.frames(source.readv(payloads)))
            self._hear(sender)
            if self.clock() >= report.due_at:
                report.make()

    def _await_end(self, sender: StreamSender) -> None:
        self.channel.idle_s = max(self.channel.idle_s, SETTLE_AT_LEAST_S)
        self._hand_over_all(sender)
        while not sender.finished:
            self._take(sender, self.channel.receive(self._decoder.space()))

    def _hear(self, sender: StreamSender) -> None:
        """What the peer has said, without waiting for it."""
        self._hand_over_all(sender)
        while not sender.finished and (got := self.channel.receive_now(self._decoder.space())) is not None:
            self._take(sender, got)

    def _hear_last_words(self, sender: StreamSender) -> None:
        """Raise the peer's ERROR if one has come; a connection that is broken has nothing more to say than that."""
        try:
            self._hear(sender)
        except TransferFailed as failure:
            if failure.end is End.PEER_ERROR:
                raise
        except RemoteError:
            pass

    def _take(self, sender: StreamSender, got: int) -> None:
        if not got:
            self._require_whole_frames()
            sender.handle_closed()
        self._decoder.received(got)
        self._hand_over_all(sender)

    def _hand_over_all(self, sender: StreamSender) -> None:
        """What has come already. What comes after the end is left for who asks next."""
        while not sender.finished and (event := self._decoder.poll_event()) is not None:
            _hand_over(sender, event)

    def _receive_all(self, receiver: StreamReceiver, sink: Sink, report: _Report) -> None:  # hot path
        """To the last block, and past it to the end of what has come: a block after the last is an offence."""
        channel, decoder = self.channel, self._decoder
        while True:
            _write_all(receiver, decoder, sink)
            if receiver.state is StreamState.SETTLING:
                got = channel.receive_now(decoder.space())
                if not got:
                    return
            else:
                got = channel.receive(decoder.space())
                if not got:
                    receiver.handle_closed()
            decoder.received(got)
            if self.clock() >= report.due_at:
                report.make()

    def _require_whole_frames(self) -> None:
        if self._decoder.mid_frame:
            raise TransferFailed(End.PEER_GONE, "the connection was closed in the middle of a frame")


def _write_all(receiver: StreamReceiver, decoder: FrameDecoder, sink: Sink) -> None:  # hot path
    """All that has come."""
    while True:
        if run := receiver.take_run(decoder):
            sink.writev(run)
        event = decoder.poll_event()
        if event is None:
            return
        if isinstance(event, memoryview):
            sink.writev([event])
            receiver.handle_payload(len(event))
        else:
            _hand_over(receiver, event)


def _hand_over(transfer: StreamTransfer, event: Event) -> None:
    if isinstance(event, bytes):
        transfer.handle_packet_untrusted(event)
    elif isinstance(event, DataHeader):
        transfer.handle_data(event)


class _Report:
    """Progress of one transfer, now and then and at the end."""

    def __init__(self, transfer: StreamTransfer, progress: Progress | None, clock: Callable[[], float]) -> None:
        self._transfer = transfer
        self._progress = progress
        self._clock = clock
        self.due_at = clock() + REPORT_EVERY_S if progress is not None else math.inf

    def make(self) -> None:
        """Report where the transfer stands."""
        self.due_at = self._clock() + REPORT_EVERY_S
        self.last()

    def last(self) -> None:
        """Report for the last time."""
        if self._progress is not None:
            self._progress(self._transfer.stats.payload_bytes, 0)
