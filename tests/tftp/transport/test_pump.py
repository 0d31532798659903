from __future__ import annotations

import contextlib
import hashlib
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from blockstep.protocol.errors import End, ErrorCode, RemoteError, TransferFailed
from blockstep.protocol.options import Agreed
from blockstep.protocol.receiver import Receiver
from blockstep.protocol.states import Role, State
from blockstep.protocol.timer import ResendTimer
from blockstep.protocol.wire import ErrorPacket, OptionAck, ack_bytes, parse_untrusted
from blockstep.transport.files import AtomicFileSink, FileSource
from blockstep.transport.pump import LOAD_BYTES, RING_BYTES, Pump, error_packet, ring_for, run_receiver, run_sender
from blockstep.transport.udp import Endpoint
from support.loopback import (
    MemorySink,
    MemorySource,
    has_offload,
    in_background,
    make_receiver,
    make_sender,
    move,
    pair,
)

offload = pytest.mark.skipif(not has_offload(), reason="this kernel has no UDP_SEGMENT and UDP_GRO")
DISK_FULL = TransferFailed(End.LOCAL_WRITE, "the disk is full", ErrorCode.DISK_FULL)
SHRUNK = TransferFailed(End.LOCAL_READ, "the file was changed while it was being sent", ErrorCode.UNDEFINED)
# what ends the dallying of a receiver
ENOUGH = ErrorPacket(0, "I have your ACK").to_bytes()
Sockets = tuple[socket.socket, socket.socket]


@pytest.fixture
def sockets() -> Iterator[Sockets]:
    with pair() as both:
        yield both


def data(index: int, payload: bytes) -> bytes:
    return b"\0\3" + index.to_bytes(2, "big") + payload


# Files arrive.


@pytest.mark.parametrize("windowsize", [1, 2, 16, 64])
@pytest.mark.parametrize("size", [0, 1, 511, 512, 513, 16 * 512, 64 * 512 - 1, 64 * 512, 100_001])
def test_a_file_arrives(sockets: Sockets, windowsize: int, size: int) -> None:
    content = os.urandom(size)
    moved = move(content, Agreed(windowsize=windowsize), Endpoint(sockets[0]), Endpoint(sockets[1]))
    assert moved.content == content
    assert moved.sender.stats.payload_bytes == moved.receiver.stats.payload_bytes == size
    assert moved.sender.stats.blocks == moved.receiver.stats.blocks == size // 512 + 1
    assert (moved.sender.state, moved.receiver.state) == (State.DONE, State.DONE)


@pytest.mark.parametrize("blksize", [8, 1428, 8192, 32000, 65464])
@pytest.mark.parametrize(("out_offload", "in_offload"), [(True, True), (True, False), (False, True), (False, False)])
def test_offload_or_not_the_file_is_the_same(
    sockets: Sockets, blksize: int, out_offload: bool, in_offload: bool
) -> None:
    content = os.urandom(min(40 * blksize, 700_000) + 5)
    out, into = Endpoint(sockets[0], offload=out_offload), Endpoint(sockets[1], offload=in_offload)
    assert move(content, Agreed(blksize=blksize, windowsize=4), out, into).content == content


@offload
def test_a_window_of_64_blocks_of_1428_is_two_sends_and_one_ack(sockets: Sockets) -> None:
    windows = 10
    content = os.urandom(windows * 64 * 1428 - 1)
    agreed = Agreed(blksize=1428, windowsize=64)
    moved = move(content, agreed, Endpoint(sockets[0]), Endpoint(sockets[1]))
    assert moved.content == content
    assert moved.out.calls_out == 2 * windows
    assert moved.into.calls_in == moved.out.calls_out
    assert moved.out.calls_in == moved.into.calls_out == windows
    assert moved.sender.stats.resends == moved.receiver.stats.resends == 0


@offload
def test_a_path_without_offload_is_found_out_on_the_way(sockets: Sockets) -> None:
    sockets[0].setsockopt(socket.SOL_SOCKET, 11, 1)  # SO_NO_CHECK: the kernel refuses to cut for such a socket
    content = os.urandom(64 * 1428 * 3)
    moved = move(content, Agreed(blksize=1428, windowsize=64), Endpoint(sockets[0]), Endpoint(sockets[1]))
    assert moved.content == content
    assert moved.sender.stats.resends == 0, "the burst that failed went out again at once, not by the timer"


def test_a_real_file_arrives_under_its_name(sockets: Sockets, tmp_path: Path) -> None:
    path, target = tmp_path / "source", tmp_path / "target"
    path.write_bytes(os.urandom(3 * LOAD_BYTES + 77))
    agreed = Agreed(blksize=1428, windowsize=16)
    sender, receiver = make_sender(agreed), make_receiver(agreed)
    source = FileSource(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
    with in_background() as threads:
        sink = AtomicFileSink.at(target)
        other = threads.submit(run_receiver, Pump(Endpoint(sockets[1]), receiver), receiver, sink)
        run_sender(Pump(Endpoint(sockets[0]), sender), sender, source)
        other.result()
    source.close()
    assert hashlib.sha256(target.read_bytes()).digest() == hashlib.sha256(path.read_bytes()).digest()


class NarrowEndpoint(Endpoint):
    """A receiver with few buffers, like a boot loader's network card: what is too much in a row is dropped."""

    capacity_bytes = 0

    def prepare_to_receive(self, stride: int, window: int) -> None:
        super().prepare_to_receive(stride, window)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self.capacity_bytes)


def narrow(sockets: Sockets, datagrams: int, stride: int) -> NarrowEndpoint:
    """An endpoint whose buffer takes no more than so many datagrams: measured, for the kernel counts in its own way."""
    out, into = sockets
    capacity_bytes = 200_000
    while (taken := _taken(out, into, stride, capacity_bytes)) > datagrams:
        capacity_bytes -= 1_000
    assert taken >= datagrams - 2
    endpoint = NarrowEndpoint(into, offload=False)
    endpoint.capacity_bytes = capacity_bytes
    return endpoint


def _taken(out: socket.socket, into: socket.socket, stride: int, capacity_bytes: int) -> int:
    """How many datagrams in a row a buffer of this size takes."""
    into.setblocking(False)
    into.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, capacity_bytes)
    for _ in range(200):
        out.send(bytes(stride))
    taken = 0
    with contextlib.suppress(BlockingIOError):
        while into.recv(stride):
            taken += 1
    return taken


def test_a_receiver_that_takes_32_datagrams_in_a_row_gets_its_file_at_window_16(sockets: Sockets) -> None:
    content = os.urandom(16 * 1428 * 20)
    into = narrow(sockets, 32, 1432)
    moved = move(content, Agreed(blksize=1428, windowsize=16), Endpoint(sockets[0]), into)
    assert moved.content == content
    assert moved.sender.stats.resends == 0


def test_a_receiver_that_takes_less_than_a_window_gets_its_file_all_the_same(sockets: Sockets) -> None:
    content = os.urandom(64 * 1428 * 3)
    into = narrow(sockets, 32, 1432)
    moved = move(content, Agreed(blksize=1428, windowsize=64), Endpoint(sockets[0]), into, timers=ResendTimer)
    assert moved.content == content


def test_the_first_datagram_may_have_come_already(sockets: Sockets) -> None:
    receiver, sink = make_receiver(Agreed(blksize=8)), MemorySink()
    run_receiver(Pump(Endpoint(sockets[0]), receiver), receiver, sink, data(1, b"last"))
    assert (sink.content, sink.committed) == (b"last", True)
    assert sockets[1].recv(100) == ack_bytes(1)


def test_the_final_ack_comes_after_the_commit(sockets: Sockets) -> None:
    class Watching(MemorySink):
        def commit(self) -> None:
            sockets[1].setblocking(False)
            with pytest.raises(BlockingIOError):
                sockets[1].recv(100)
            super().commit()

    receiver, sink = make_receiver(Agreed(blksize=8)), Watching()
    run_receiver(Pump(Endpoint(sockets[0]), receiver), receiver, sink, data(1, b"last"))
    assert sockets[1].recv(100) == ack_bytes(1)


# Ends.


def failing(
    sockets: Sockets, source: MemorySource, sink: MemorySink
) -> tuple[BaseException | None, BaseException | None]:
    """How sender and receiver end when one of their files fails."""
    agreed = Agreed(blksize=512, windowsize=4)
    sender, receiver = make_sender(agreed), make_receiver(agreed)
    with in_background() as threads:
        receiving = threads.submit(run_receiver, Pump(Endpoint(sockets[1]), receiver), receiver, sink)
        sending = threads.submit(run_sender, Pump(Endpoint(sockets[0]), sender), sender, source)
        return sending.exception(), receiving.exception()


def test_when_reading_fails_the_receiver_is_told_and_keeps_nothing(sockets: Sockets) -> None:
    source, sink = MemorySource(bytes(2_000_000), SHRUNK, fails_at=500_000), MemorySink()
    ours, theirs = failing(sockets, source, sink)
    assert ours is SHRUNK
    assert isinstance(theirs, TransferFailed)
    assert (theirs.end, theirs.code, theirs.detail) == (End.PEER_ERROR, 0, SHRUNK.detail)
    assert sink.aborted


@pytest.mark.parametrize("fails_at", ["writev", "commit"])
def test_when_writing_fails_the_sender_is_told(sockets: Sockets, fails_at: str) -> None:
    sink = MemorySink(DISK_FULL, fails_at)
    ours, theirs = failing(sockets, MemorySource(bytes(100_000)), sink)
    assert theirs is DISK_FULL
    assert isinstance(ours, TransferFailed)
    assert (ours.end, ours.code, ours.detail) == (End.PEER_ERROR, ErrorCode.DISK_FULL, DISK_FULL.detail)
    assert sink.aborted


@pytest.mark.parametrize("rubbish", [b"", b"\0", b"\0\7", ack_bytes(1), data(1, b"x" * 9)])
def test_a_peer_that_breaks_the_rules_is_told_so(sockets: Sockets, rubbish: bytes) -> None:
    receiver, sink = make_receiver(Agreed(blksize=8)), MemorySink()
    sockets[1].send(rubbish)
    with pytest.raises(TransferFailed) as caught:
        run_receiver(Pump(Endpoint(sockets[0]), receiver), receiver, sink)
    assert caught.value.end is End.PEER_BROKE_RULES
    assert sockets[1].recv(100)[:4] == b"\0\5\0\4"
    assert sink.aborted


def test_a_peer_that_has_not_proven_itself_is_told_nothing(sockets: Sockets) -> None:
    # Its request may be forged: who bears that address gets the one block that it seemed to ask for, and no ERROR.
    sender = make_sender(Agreed(), Role.SERVE_READ)
    sockets[1].send(b"\0\7rubbish")
    with pytest.raises(TransferFailed, match="unknown opcode"):
        run_sender(Pump(Endpoint(sockets[0]), sender), sender, MemorySource(b"content"))
    assert sockets[1].recv(600) == data(1, b"content")
    sockets[1].setblocking(False)
    with pytest.raises(BlockingIOError):
        sockets[1].recv(100)


def test_a_peer_that_has_said_its_error_is_told_nothing_more(sockets: Sockets) -> None:
    sender = make_sender(Agreed())
    sockets[1].send(ErrorPacket(3, "disk full").to_bytes())
    with pytest.raises(TransferFailed) as caught:
        run_sender(Pump(Endpoint(sockets[0]), sender), sender, MemorySource(b"content"))
    assert (caught.value.end, caught.value.code) == (End.PEER_ERROR, 3)
    assert sockets[1].recv(600) == data(1, b"content")
    sockets[1].setblocking(False)
    with pytest.raises(BlockingIOError):
        sockets[1].recv(100)


def test_a_peer_that_is_gone_is_noticed_at_once(sockets: Sockets) -> None:
    sender = make_sender(Agreed())
    sockets[1].close()
    started_at = time.monotonic()
    with pytest.raises(TransferFailed) as caught:
        run_sender(Pump(Endpoint(sockets[0]), sender), sender, MemorySource(bytes(5000)))
    assert caught.value.end is End.PEER_GONE
    assert time.monotonic() - started_at < 10


def test_a_receiver_whose_peer_is_gone_after_the_end_has_its_file(sockets: Sockets) -> None:
    receiver, sink = make_receiver(Agreed(blksize=8)), MemorySink()
    sockets[1].close()
    run_receiver(Pump(Endpoint(sockets[0]), receiver), receiver, sink, data(1, b"last"))
    assert (sink.committed, receiver.delivered) == (True, True)


@pytest.mark.parametrize("rubbish", [b"", b"\0\7", ack_bytes(9), ErrorPacket(0, "what?").to_bytes(), data(1, b"x" * 9)])
def test_a_whole_file_is_not_lost_to_what_the_peer_says_afterwards(sockets: Sockets, rubbish: bytes) -> None:
    receiver, sink = make_receiver(Agreed(blksize=8)), MemorySink()
    sockets[1].send(data(1, b"last"))
    sockets[1].send(rubbish)
    run_receiver(Pump(Endpoint(sockets[0]), receiver), receiver, sink)
    assert (sink.content, sink.committed, sink.aborted) == (b"last", True, False)
    assert sockets[1].recv(100) == ack_bytes(1)


def test_the_final_ack_is_repeated_while_it_dallies(sockets: Sockets) -> None:
    receiver, sink = make_receiver(Agreed(blksize=8)), MemorySink()
    for packet in [data(1, b"last")] * 3 + [ENOUGH]:
        sockets[1].send(packet)
    run_receiver(Pump(Endpoint(sockets[0]), receiver), receiver, sink)
    assert [sockets[1].recv(100) for _ in range(3)] == [ack_bytes(1)] * 3


def test_an_oack_is_sent_and_repeated_until_somebody_answers(sockets: Sockets) -> None:
    oack = OptionAck((("blksize", "8"),)).to_bytes()
    agreed = Agreed(blksize=8)
    timer = ResendTimer(first_s=0.01, floor_s=0.01, ceiling_s=0.01)
    receiver = Receiver(Role.SERVE_WRITE, agreed, timer, now=time.monotonic(), opening=oack)
    with in_background() as threads:
        sink = MemorySink()
        other = threads.submit(run_receiver, Pump(Endpoint(sockets[0]), receiver), receiver, sink)
        assert [sockets[1].recv(100) for _ in range(3)] == [oack] * 3
        sockets[1].send(data(1, b"last"))
        sockets[1].send(ENOUGH)
        other.result()
    assert sink.content == b"last"


# Limits and watchers.


def test_a_transfer_over_its_time_is_ended_and_the_peer_is_told(sockets: Sockets) -> None:
    sender = make_sender(Agreed())
    with pytest.raises(TransferFailed) as caught:
        run_sender(Pump(Endpoint(sockets[0]), sender, max_time_s=0.05), sender, MemorySource(b"content"))
    assert caught.value.end is End.MAX_TIME
    assert sockets[1].recv(600) == data(1, b"content")
    assert parse_untrusted(sockets[1].recv(600)) == ErrorPacket(0, "the transfer took too long")


def test_progress_is_told_at_the_end(sockets: Sockets) -> None:
    seen: list[tuple[int, int]] = []
    receiver, sink = make_receiver(Agreed(blksize=8)), MemorySink()
    pump = Pump(Endpoint(sockets[0]), receiver, progress=lambda done_bytes, resends: seen.append((done_bytes, resends)))
    run_receiver(pump, receiver, sink, data(1, b"last"))
    assert seen[-1] == (4, 0)
    assert len(seen) < 10


def test_a_signal_tells_the_peer_and_leaves_nothing_behind(sockets: Sockets) -> None:
    signals = [KeyboardInterrupt]

    def interrupt(done_bytes: int, resends: int) -> None:
        if signals:
            raise signals.pop()

    receiver, sink = make_receiver(Agreed(blksize=8)), MemorySink()
    sockets[1].send(data(2, b"12345678"))
    with pytest.raises(KeyboardInterrupt):
        run_receiver(Pump(Endpoint(sockets[0]), receiver, progress=interrupt), receiver, sink, data(1, b"12345678"))
    assert sink.aborted
    assert parse_untrusted(sockets[1].recv(100)) == ErrorPacket(0, "the transfer was stopped")


class TalkativeEndpoint(Endpoint):
    """Whose peer repeats one old ACK without end; each time takes ten milliseconds of a clock that the test owns."""

    now = 1000.0

    def receive(self, memory: bytearray, wait_s: float) -> tuple[int, int]:
        self.now += 0.01
        memory[:4] = ack_bytes(0)
        return 4, 4


def test_a_peer_that_talks_without_end_does_not_keep_the_deadline_away(sockets: Sockets) -> None:
    endpoint = TalkativeEndpoint(sockets[0])
    sender = make_sender(Agreed(), timer=ResendTimer())
    sender._progress_at = endpoint.now
    with pytest.raises(TransferFailed) as caught:
        run_sender(Pump(endpoint, sender, clock=lambda: endpoint.now), sender, MemorySource(b"content"))
    assert caught.value.end is End.TIMED_OUT
    assert sender.stats.resends > 3
    assert endpoint.now == pytest.approx(1000.0 + sender.timer.give_up_s, abs=0.1)


# The ring, and the words for an end.


@pytest.mark.parametrize(
    ("windowsize", "blksize"),
    [(1, 8), (1, 512), (1, 65464), (16, 8), (64, 1428), (64, 65464), (1000, 1428), (1000, 8192), (65535, 8)],
)
@pytest.mark.parametrize("size_bytes", [None, 0, 5000])
def test_a_ring_holds_what_a_sender_needs(windowsize: int, blksize: int, size_bytes: int | None) -> None:
    arena = ring_for(Agreed(blksize=blksize, windowsize=windowsize), size_bytes)
    whole_file = size_bytes is not None and arena.slots * blksize > size_bytes
    assert arena.slots >= windowsize or whole_file
    assert len(arena.memory) <= max(RING_BYTES, (blksize + 4) * windowsize)


@pytest.mark.parametrize(
    ("failure", "said"),
    [
        (RemoteError(ErrorCode.ILLEGAL_OPERATION, "no such opcode"), ErrorPacket(4, "no such opcode")),
        (DISK_FULL, ErrorPacket(3, "the disk is full")),
        (TransferFailed(End.TIMED_OUT, "no progress for 24.0 s"), ErrorPacket(0, "no progress for 24.0 s")),
        (TransferFailed(End.PEER_ERROR, "disk full", 3), None),
        (TransferFailed(End.PEER_GONE, "the peer's port is closed"), None),
        (KeyboardInterrupt(), ErrorPacket(0, "the transfer was stopped")),
        (OSError(5, "Input/output error", "/root/secret"), ErrorPacket(0, "the transfer was stopped")),
    ],
)
def test_what_a_peer_is_told(failure: BaseException, said: ErrorPacket | None) -> None:
    assert error_packet(failure) == (said.to_bytes() if said else None)
