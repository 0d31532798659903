"""The pump: moves one transfer by driving its machine, its endpoint and its file.

A turn is: out with what the machine wants to send, read ahead in the file while the peer is busy, take in what has
come, and when nothing came, the deadline. The pump owns the clock; the machine decides. However a transfer ends, the
peer is told if it has shown itself and does not know yet.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable
from types import TracebackType
from typing import Protocol, Self

from blockstep.protocol.arena import HEADER_BYTES, Arena
from blockstep.protocol.errors import End, ErrorCode, RemoteError, TransferFailed
from blockstep.protocol.machine import Machine
from blockstep.protocol.numbers import LONGEST_RUN
from blockstep.protocol.options import Agreed
from blockstep.protocol.receiver import Receiver
from blockstep.protocol.sender import Sender
from blockstep.protocol.states import State
from blockstep.protocol.wire import ErrorPacket
from blockstep.transport.files import Sink, Source, Unsteady
from blockstep.transport.udp import RECEIVE_BYTES, Endpoint

REPORT_EVERY_S = 0.05
# One read of the file: large enough to cost little, small enough not to keep the peer waiting.
LOAD_BYTES = 64 * 1024
# From here on it matters that a file kept us from listening.
STALL_S = 0.02
# A source that pauses for so long has what it has brought sent; how often one that brings nothing is asked again.
STARVED_S = 0.005
# What a sender hears are ACKs, and at most an ERROR whose text may be cut.
CONTROL_BYTES = 2048


class Progress(Protocol):
    """Somebody who watches, called at most twenty times a second and once at the end."""

    def __call__(self, done_bytes: int, resends: int) -> None:
        """`done_bytes` of the file have been acknowledged (sender) or written (receiver)."""


class Pump:
    """What the two directions share: clock, limits, reports and the end.

    `delivered_at` is the time on the clock at which the file was known to be whole at its destination; what comes after
    it is courtesy to a peer that may have missed our last ACK. `on_delivered` is called at that moment, before the
    peer can know.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        machine: Machine,
        *,
        clock: Callable[[], float] = time.monotonic,
        progress: Progress | None = None,
        on_delivered: Callable[[], object] = lambda: None,
        max_time_s: float | None = None,
    ) -> None:
        self.endpoint = endpoint
        self.machine = machine
        self.clock = clock
        self._progress = progress
        self._on_delivered = on_delivered
        self.chores_at = 0.0
        self.delivered_at: float | None = None
        self._expires_at = clock() + max_time_s if max_time_s else math.inf

    def deliver(self, now: float) -> None:
        """The file is whole at its destination."""
        self.delivered_at = now
        self._on_delivered()

    def resume(self, since: float) -> float:
        """The time now. If a file has kept us from listening since then, that is no silence of the peer's."""
        now = self.clock()
        if now - since > STALL_S:
            self.machine.stood_still(now - since)
        return now

    def wait_s(self, now: float) -> float:
        """How long the endpoint may wait for the peer."""
        return min(self.machine.next_deadline(), self._expires_at) - now

    def chores(self, now: float) -> None:
        """What is due now and then: the report, strays, the total time."""
        self.chores_at = now + REPORT_EVERY_S
        if self._progress is not None:
            self._progress(self.machine.stats.payload_bytes, self.machine.stats.resends)
        self.endpoint.answer_strays()
        if now >= self.machine.next_deadline() and not self.machine.finished:
            self.machine.handle_deadline(now)  # a peer that talks without end must not keep the deadline away
        if now >= self._expires_at:
            raise TransferFailed(End.MAX_TIME, "the transfer took too long", ErrorCode.UNDEFINED)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, failure: BaseException | None, trace: TracebackType | None
    ) -> bool:
        """After a failure end the transfer and tell the peer; an offence becomes its end. Report for the last time."""
        try:
            if failure is None:
                return False
            if self.machine.delivered:
                # The file is whole and in its place: whatever the peer says now cannot take that back.
                return isinstance(failure, TransferFailed | RemoteError)
            self._end_by(failure)
            if isinstance(failure, RemoteError):
                raise TransferFailed(End.PEER_BROKE_RULES, str(failure), failure.code) from None
            return False
        finally:
            if self._progress is not None:
                self._progress(self.machine.stats.payload_bytes, self.machine.stats.resends)

    def _end_by(self, failure: BaseException) -> None:
        self.machine.fail()
        packet = error_packet(failure)
        if packet is not None and self.machine.proven:
            with contextlib.suppress(TransferFailed, OSError):
                self.endpoint.send(packet)


def error_packet(failure: BaseException) -> bytes | None:
    """The ERROR packet that tells a peer of `failure`; None where the peer knows or is gone."""
    if isinstance(failure, RemoteError):
        return ErrorPacket(failure.code, str(failure)).to_bytes()
    if isinstance(failure, TransferFailed):
        if failure.end in (End.PEER_ERROR, End.PEER_GONE):
            return None
        return ErrorPacket(failure.code or ErrorCode.UNDEFINED, failure.detail).to_bytes()
    return ErrorPacket(ErrorCode.UNDEFINED, "the transfer was stopped").to_bytes()


# The ring of a sender: never more than this, unless one window needs it.
RING_BYTES = 16 * 1024 * 1024


def ring_for(agreed: Agreed, size_bytes: int | None) -> Arena:
    """The arena for a sender: two windows or one load of the file, whichever is more, but no more than the file has."""
    stride = HEADER_BYTES + agreed.blksize
    # Whole windows, so that none goes round the end of the ring, which would cost a send of its own.
    windows = max(2, LOAD_BYTES // (agreed.blksize * agreed.windowsize))
    slots = min(windows * agreed.windowsize, max(RING_BYTES // stride, agreed.windowsize), LONGEST_RUN)
    if size_bytes is not None:
        slots = min(slots, size_bytes // agreed.blksize + 1)
    return Arena(slots, agreed.blksize)


def run_sender(pump: Pump, sender: Sender, source: Source) -> None:
    """Send all of `source`. TransferFailed when the file did not arrive; whatever is raised, the peer was told."""
    pump.endpoint.prepare_to_send(sender.arena.stride, sender.agreed.windowsize)
    with pump:
        _send_all(pump, sender, source)


def _send_all(pump: Pump, sender: Sender, source: Source) -> None:  # hot path
    endpoint, clock = pump.endpoint, pump.clock
    memory = bytearray(CONTROL_BYTES)
    incoming = memoryview(memory)
    view = sender.arena.view
    unsteady = source if isinstance(source, Unsteady) else None
    _load(sender, source, sender.agreed.windowsize * sender.agreed.blksize, unsteady)
    now = clock()
    while not sender.finished:
        most_s = math.inf
        if sender.state is State.OFFERED and (packet := sender.poll_opening(now)) is not None:
            endpoint.send(packet)
        while (run := sender.poll_send(now, endpoint.max_segments)) is not None:
            endpoint.send_burst(view, *run)
        if sender.wants_load:
            if _load(sender, source, LOAD_BYTES, unsteady):
                now = pump.resume(now)
                continue
            most_s = STARVED_S
        got, _stride = endpoint.receive(memory, min(pump.wait_s(now), most_s))
        now = clock()
        if got >= 0:
            sender.handle_datagram(incoming[:got], now)
        elif now >= sender.next_deadline():
            sender.handle_deadline(now)
        if now >= pump.chores_at:
            pump.chores(now)
    pump.deliver(now)


def _load(sender: Sender, source: Source, at_most_bytes: int, unsteady: Unsteady | None) -> bool:
    """Load what there is room for, or what an unsteady source has brought before it pauses; False: not a block."""
    slot, count = sender.room()
    blksize = sender.agreed.blksize
    count = max(1, min(count, at_most_bytes // blksize))
    if unsteady is not None:
        count = min(count, unsteady.ready_bytes(count * blksize, STARVED_S) // blksize)
    if count:
        sender.loaded(slot, count, source.readv(sender.arena.payloads[slot : slot + count]))
    return count > 0


def run_receiver(pump: Pump, receiver: Receiver, sink: Sink, first: bytes = b"") -> None:
    """Receive into `sink` and commit it before the last ACK. `first` is a datagram that arrived already.

    TransferFailed when the file did not arrive whole; the sink is aborted then, and the peer was told.
    """
    try:
        pump.endpoint.prepare_to_receive(receiver.stride, receiver.agreed.windowsize)
        with pump:
            _receive_all(pump, receiver, _Intake(receiver, sink), first)
    finally:
        sink.abort()  # does nothing after the commit


def _receive_all(pump: Pump, receiver: Receiver, intake: _Intake, first: bytes) -> None:  # hot path
    endpoint, clock = pump.endpoint, pump.clock
    memory = intake.memory
    ack = bytearray(b"\0\4\0\0")
    memory[: len(first)] = first
    got = stride = len(first) or -1
    now = clock()
    while True:
        if got >= 0:
            intake.take(got, stride, now)
            if receiver.complete and not receiver.delivered:
                intake.sink.commit()
                now = clock()
                receiver.settled(now)  # first: whatever interrupts us from here on cannot take the file back
                pump.deliver(now)
        now = pump.resume(now)
        if now >= pump.chores_at and not receiver.finished:  # what has come was taken: it may have waited for us
            pump.chores(now)
        if receiver.finished:
            return
        if receiver.state is State.OFFERED and (packet := receiver.poll_opening(now)) is not None:
            endpoint.send(packet)
        if (wire := receiver.poll_ack(now)) is not None:
            ack[2], ack[3] = wire >> 8, wire & 0xFF
            endpoint.send(ack)
        got, stride = endpoint.receive(memory, pump.wait_s(now))
        now = clock()
        if got < 0:
            receiver.handle_deadline(now)


class _Intake:
    """Where bursts land, and how what is accepted of them reaches the sink."""

    def __init__(self, receiver: Receiver, sink: Sink) -> None:
        self.memory = bytearray(RECEIVE_BYTES)
        self.sink = sink
        self._receiver = receiver
        self._view = memoryview(self.memory)
        stride = receiver.stride
        starts = range(0, RECEIVE_BYTES - stride + 1, stride)
        self._payloads = [self._view[start + HEADER_BYTES : start + stride] for start in starts]

    def take(self, got: int, stride: int, now: float) -> None:  # hot path
        """`memory[:got]` holds segments `stride` bytes apart: write the blocks that the machine accepts."""
        count = self._receiver.receive_burst(self.memory, got, stride, now)
        if not count:
            self._take_one_by_one(got, stride, now)
            return
        last = (count - 1) * stride
        if got - last == self._receiver.stride:
            self.sink.writev(self._payloads[:count])
        else:
            self.sink.writev([*self._payloads[: count - 1], self._view[last + HEADER_BYTES : got]])

    def _take_one_by_one(self, got: int, stride: int, now: float) -> None:
        for start in range(0, max(got, 1), max(stride, 1)):
            if self._receiver.finished:
                return
            end = min(start + stride, got)
            if payloads := self._receiver.receive_segment(self._view[start:end], now):
                self.sink.writev(payloads)
