"""Files that keep a transfer waiting: an input that somebody is still making, a disk that is slow."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from blockstep.protocol.errors import End, TransferFailed
from blockstep.protocol.options import Agreed
from blockstep.protocol.timer import ResendTimer
from blockstep.protocol.wire import ack_bytes
from blockstep.transport.files import FileSource, NetasciiSource, StreamSource, source_at
from blockstep.transport.pump import Pump, run_receiver, run_sender
from blockstep.transport.udp import Endpoint
from support.loopback import MemorySink, in_background, make_receiver, make_sender, pair


class Pipe:
    """Both ends, each of which can be closed at any time."""

    def __init__(self) -> None:
        reader, writer = os.pipe()
        self.reader = os.fdopen(reader, "rb", buffering=0)
        self.writer = os.fdopen(writer, "wb", buffering=0)

    def write(self, content: bytes) -> None:
        self.writer.write(content)

    def source(self) -> StreamSource:
        return StreamSource(self.reader.fileno())


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    pipe = Pipe()
    with pipe.reader, pipe.writer:
        yield pipe


def read(source: StreamSource | NetasciiSource, count: int) -> bytes:
    memory = bytearray(count)
    views = [memoryview(memory)[start : start + 4] for start in range(0, count, 4)]
    return bytes(memory[: source.readv(views)])


def test_a_pipe_says_what_it_has_and_does_not_wait_for_more(pipe: Pipe) -> None:
    source = pipe.source()
    assert source.ready_bytes(8) == 0
    pipe.write(b"123")
    assert source.ready_bytes(8) == 3
    pipe.write(b"456789")
    assert source.ready_bytes(8) == 8
    assert source.ready_bytes(4) == 4
    assert read(source, 8) == b"12345678"
    assert source.ready_bytes(8) == 1
    pipe.writer.close()
    assert source.ready_bytes(8) == 8, "as much as anybody wants: the end is known"
    assert read(source, 8) == b"9"
    assert read(source, 8) == b""


def test_what_was_looked_at_and_what_was_not_are_one_stream(pipe: Pipe) -> None:
    source = pipe.source()
    pipe.write(b"0123456789")
    assert source.ready_bytes(3) == 3
    assert read(source, 8) == b"01234567"
    pipe.writer.close()
    assert read(source, 8) == b"89"


def test_text_says_what_has_been_encoded(pipe: Pipe) -> None:
    source = NetasciiSource(pipe.source())
    assert source.ready_bytes(8) == 0
    pipe.write(b"a\nb")
    assert source.ready_bytes(8) == 4
    pipe.write(b"\n")
    pipe.writer.close()
    assert source.ready_bytes(8) == 8
    assert read(source, 8) == b"a\r\nb\r\n"


def test_text_of_a_file_is_always_there(tmp_path: Path) -> None:
    (tmp_path / "text").write_bytes(b"a\n" * 1000)
    source = NetasciiSource(source_at(tmp_path / "text"))
    assert source.ready_bytes(2000) == 2000
    source.close()


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="there is no /proc")
def test_a_file_that_the_kernel_makes_has_no_size() -> None:
    source = source_at(Path("/proc/self/limits"))
    assert source.size_bytes is None
    memory = bytearray(100_000)
    assert memory[: source.readv([memoryview(memory)])] == Path("/proc/self/limits").read_bytes()
    source.close()


@pytest.mark.parametrize("size", [0, 1, 4096])
def test_a_file_with_nothing_on_the_disk_has_one(tmp_path: Path, size: int) -> None:
    (tmp_path / "sparse").touch()
    os.truncate(tmp_path / "sparse", size)
    source = source_at(tmp_path / "sparse")
    assert isinstance(source, FileSource)
    assert source.size_bytes == size
    source.close()


def test_what_a_pipe_brings_is_sent_before_it_pauses(pipe: Pipe) -> None:
    """Three blocks, each written when the one before has been acknowledged: nobody waits for a whole window."""
    with pair() as (ours, peer), in_background() as threads, pipe.writer:  # closed first: the sender ends
        sender, source = make_sender(Agreed(blksize=8, windowsize=4)), pipe.source()
        sending = threads.submit(run_sender, Pump(Endpoint(ours), sender), sender, source)
        for number in (1, 2, 3):
            pipe.write(b"%d-octets" % number)
            assert peer.recv(100) == b"\0\3\0%c%d-octets" % (number, number)
            peer.send(ack_bytes(number))
        pipe.writer.close()
        assert peer.recv(100) == b"\0\3\0\4"
        peer.send(ack_bytes(4))
        sending.result(10)
    assert sender.stats.payload_bytes == 24


class LateSource:
    """Brings its second block long after the first, by a clock that the test owns."""

    size_bytes = None

    def __init__(self, at: float) -> None:
        self.now = 1000.0
        self._at = self.now + at
        self._read = 0

    def clock(self) -> float:
        self.now += 5.0
        return self.now

    def ready_bytes(self, wanted: int, _wait_s: float = 0.0) -> int:
        return 8 if not self._read else wanted if self.now >= self._at else 0

    def readv(self, views: Sequence[memoryview]) -> int:
        self._read += 1
        part = b"8 bytes." if self._read == 1 else b"end"
        views[0][: len(part)] = part
        return len(part)

    def close(self) -> None:
        pass


def test_a_peer_is_not_given_up_while_our_own_input_keeps_both_waiting() -> None:
    source = LateSource(at=500.0)
    with pair() as (ours, peer), in_background() as threads:
        sender = make_sender(Agreed(blksize=8), timer=ResendTimer(give_up_s=100.0))
        sender._progress_at = source.now
        sending = threads.submit(run_sender, Pump(Endpoint(ours), sender, clock=source.clock), sender, source)
        for number, payload in ((1, b"8 bytes."), (2, b"end")):
            while peer.recv(100) != b"\0\3\0%c" % number + payload:
                pass
            peer.send(ack_bytes(number))
        sending.result(10)


class SlowSink(MemorySink):
    """Takes a minute for each write, by a clock that the test owns."""

    now = 1000.0

    def writev(self, views: Sequence[memoryview]) -> None:
        self.now += 60.0
        super().writev(views)


def test_a_slow_disk_is_no_silence_of_the_peer() -> None:
    sink = SlowSink()
    with pair() as (ours, peer):
        receiver = make_receiver(Agreed(blksize=8), timer=ResendTimer(give_up_s=10.0))
        receiver._progress_at = receiver._wait_from = sink.now
        for number, payload in ((2, b"8 more.."), (3, b"end")):
            peer.send(b"\0\3\0%c" % number + payload)
        peer.send(b"\0\5\0\0thank you\0")
        run_receiver(
            Pump(Endpoint(ours, offload=False), receiver, clock=lambda: sink.now),
            receiver,
            sink,
            b"\0\3\0\1" + b"8 bytes.",
        )
        assert [peer.recv(100) for _ in range(3)] == [ack_bytes(number) for number in (1, 2, 3)]
    assert sink.committed
    assert receiver.stats.timeouts == 0


def test_a_pipe_that_cannot_be_read_is_a_sentence(pipe: Pipe) -> None:
    source = StreamSource(pipe.writer.fileno())
    pipe.reader.close()
    with pytest.raises(TransferFailed) as caught:
        source.ready_bytes(8)
    assert caught.value.end is End.LOCAL_READ


def test_a_pause_is_bounded(pipe: Pipe) -> None:
    source = pipe.source()
    started_at = time.monotonic()
    assert source.ready_bytes(8, 0.05) == 0
    assert time.monotonic() - started_at >= 0.05


class Trickle:
    """An input that always has one byte more, a millisecond later, and the clock for that."""

    now = 1000.0

    def poll(self, milliseconds: float) -> bool:
        self.now += 0.001
        return milliseconds > 0

    def read(self, _fd: int, _most: int) -> bytes:
        return b"x"

    def monotonic(self) -> float:
        return self.now


def test_an_input_that_trickles_is_handed_on_in_time(pipe: Pipe, monkeypatch: pytest.MonkeyPatch) -> None:
    source, trickle = pipe.source(), Trickle()
    monkeypatch.setattr(source, "_poll", trickle)
    for module in ("os", "time"):
        monkeypatch.setattr(f"blockstep.transport.pipes.{module}", trickle)
    assert 4 <= source.ready_bytes(1000, 0.005) <= 6


def test_no_round_trip_is_measured_across_a_stall() -> None:
    """The answer has waited for us, and what is left of the time would be a round trip of nothing."""
    sender = make_sender(Agreed(blksize=8))
    sender.timer = timer = ResendTimer()
    sender.loaded(0, 2, 11)
    assert sender.poll_send(1000.0, 64) is not None
    sender.stood_still(0.12)
    sender.handle_datagram(memoryview(ack_bytes(1)), 1000.12)
    measured = [timer.srtt_s]
    assert sender.poll_send(1000.12, 64) is not None
    sender.handle_datagram(memoryview(ack_bytes(2)), 1000.22)
    assert [*measured, timer.srtt_s] == [None, pytest.approx(0.1)]
    assert sender.stats.resends == 0


class LateDally(Endpoint):
    """A peer that says something superfluous when the time to dally is over, by a clock that the test owns."""

    now = 1000.0
    said: tuple[bytes, ...] = (b"\0\3\0\1the end", b"\0\6blksize\x008\0")

    def receive(self, memory: bytearray, wait_s: float) -> tuple[int, int]:
        if not self.said:
            return -1, 0
        packet, *rest = self.said
        if len(self.said) == 1:
            self.now += wait_s + 0.06
        self.said = tuple(rest)
        memory[: len(packet)] = packet
        return len(packet), len(packet)


def test_who_is_heard_when_the_dallying_is_over_changes_nothing() -> None:
    sink = MemorySink()
    with pair() as (ours, _peer):
        endpoint = LateDally(ours)
        receiver = make_receiver(Agreed(blksize=8), timer=ResendTimer())
        receiver._progress_at = receiver._wait_from = endpoint.now
        run_receiver(Pump(endpoint, receiver, clock=lambda: endpoint.now), receiver, sink)
    assert (sink.committed, receiver.delivered, receiver.finished) == (True, True, True)
