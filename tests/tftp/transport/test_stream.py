from __future__ import annotations

import os
import random
import socket
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from blockstep.protocol.errors import End, ErrorCode, TransferFailed
from blockstep.protocol.framing import frame
from blockstep.protocol.options import Agreed, Wanted
from blockstep.protocol.states import Role
from blockstep.protocol.stream import BLKSIZE_STREAM, StreamReceiver, StreamSender, stream_wanted
from blockstep.protocol.wire import Opcode, Request, ack_bytes
from blockstep.transport.atomic import AtomicFileSink
from blockstep.transport.files import Sink, source_at
from blockstep.transport.stream import StreamConnection
from blockstep.transport.stream_client import ClientStream
from support.streams import KINDS, FolderHandler, serving

AGREED = Agreed(blksize=BLKSIZE_STREAM)
SIZES = [0, 1, 511, 512, 513, 262_144, 262_145, 3_000_000]


def content(size: int) -> bytes:
    return random.Random(size).randbytes(size)


def read(name: str, wanted: Wanted, mode: str = "octet") -> Request:
    return Request(Opcode.RRQ, name, mode, wanted.to_options())


def write(name: str, wanted: Wanted, mode: str = "octet") -> Request:
    return Request(Opcode.WRQ, name, mode, wanted.to_options())


def get(stream: ClientStream, name: str, target: Path, wanted: Wanted) -> StreamReceiver:
    return stream.get(read(name, wanted), wanted, lambda agreed: AtomicFileSink.at(target, expected_bytes=agreed.tsize))


def put(stream: ClientStream, source: Path, name: str, wanted: Wanted) -> StreamSender:
    opened = source_at(source)
    try:
        return stream.put(write(name, wanted), wanted, opened)
    finally:
        opened.close()


@pytest.fixture
def served(tmp_path: Path) -> Path:
    folder = tmp_path / "served"
    folder.mkdir()
    return folder


def failure(call: Callable[[], object]) -> TransferFailed:
    with pytest.raises(TransferFailed) as caught:
        call()
    return caught.value


@pytest.mark.parametrize("kind", KINDS)
class TestBothSides:
    @pytest.mark.parametrize("wanted", [Wanted(), stream_wanted(tsize=0), stream_wanted(blksize=1 << 20)])
    def test_every_size_comes_and_goes_on_one_connection(
        self, kind: str, served: Path, tmp_path: Path, wanted: Wanted
    ) -> None:
        handler = FolderHandler(served)
        with serving(kind, handler) as sock, ClientStream(sock) as stream:
            for size in SIZES:
                (tmp_path / "out").write_bytes(content(size))
                sender = put(stream, tmp_path / "out", f"{size}", wanted)
                receiver = get(stream, f"{size}", tmp_path / "in", wanted)
                assert (tmp_path / "in").read_bytes() == content(size)
                assert sender.stats == receiver.stats
                assert sender.stats.payload_bytes == size
                assert sender.delivered
        assert handler.failures == [""] * 2 * len(SIZES)

    def test_a_refused_request_leaves_the_connection_as_it_was(self, kind: str, served: Path, tmp_path: Path) -> None:
        (served / "here").write_bytes(b"it is")
        handler = FolderHandler(served)
        with serving(kind, handler) as sock, ClientStream(sock) as stream:
            refused = failure(lambda: get(stream, "missing", tmp_path / "missing", stream_wanted()))
            assert (refused.end, refused.code) == (End.PEER_ERROR, ErrorCode.FILE_NOT_FOUND)
            assert stream.usable
            get(stream, "here", tmp_path / "here", stream_wanted())
        assert (tmp_path / "here").read_bytes() == b"it is"
        assert not (tmp_path / "missing").exists()
        assert handler.failures == ["the file cannot be read: no such file or directory", ""]

    def test_a_full_disk_is_told_while_the_blocks_still_come(self, kind: str, served: Path, tmp_path: Path) -> None:
        handler = FullDisk(served)
        with serving(kind, handler) as sock, ClientStream(sock) as stream:
            failed = failure(lambda: stream.put(write("big", stream_wanted()), stream_wanted(), Endless()))
            assert (failed.end, failed.code) == (End.PEER_ERROR, ErrorCode.DISK_FULL)
            assert not stream.usable
        assert handler.failures == ["no room"]
        assert os.listdir(served) == []

    def test_a_client_that_cannot_write_tells_the_server(self, kind: str, served: Path, tmp_path: Path) -> None:
        (served / "big").write_bytes(content(3_000_000))
        handler = FolderHandler(served)
        with serving(kind, handler) as sock, ClientStream(sock) as stream:
            failed = failure(lambda: stream.get(read("big", Wanted()), Wanted(), lambda _: FullSink()))
            assert failed.end is End.LOCAL_WRITE
        assert handler.failures == ["no room"]

    def test_a_file_that_changes_is_never_sent_to_its_end(self, kind: str, served: Path, tmp_path: Path) -> None:
        (served / "old").write_bytes(b"old")
        handler = FolderHandler(served)
        source = Endless(until=TransferFailed(End.LOCAL_READ, "the file was changed", ErrorCode.UNDEFINED))
        with serving(kind, handler) as sock, ClientStream(sock) as stream:
            failed = failure(lambda: stream.put(write("old", Wanted()), Wanted(), source))
            assert failed.end is End.LOCAL_READ
        assert handler.failures == ["the file was changed"]
        assert (served / "old").read_bytes() == b"old"
        assert os.listdir(served) == ["old"]

    def test_netascii_is_translated_on_either_side(self, kind: str, served: Path, tmp_path: Path) -> None:
        wanted = stream_wanted(blksize=8)
        (served / "text").write_bytes(b"one\ntwo\rthree\n")
        with serving(kind, FolderHandler(served)) as sock, ClientStream(sock) as stream:
            request = read("text", wanted, "netascii")
            stream.get(request, wanted, lambda _: AtomicFileSink.at(tmp_path / "wire"))
            assert (tmp_path / "wire").read_bytes() == b"one\r\ntwo\r\0three\r\n"
            source = source_at(tmp_path / "wire")
            stream.put(write("back", wanted, "netascii"), wanted, source)
            source.close()
        assert (served / "back").read_bytes() == b"one\ntwo\rthree\n"


class Endless:
    """A source without end, or until something happens to it."""

    size_bytes = None

    def __init__(self, until: TransferFailed | None = None) -> None:
        self._until = until
        self._reads = 0

    def readv(self, views: Sequence[memoryview]) -> int:
        self._reads += 1
        if self._until is not None and self._reads > 10:
            raise self._until
        return sum(map(len, views))

    def close(self) -> None:
        pass


class FullSink:
    """A sink that takes 100 kB."""

    bytes_written = 0

    def writev(self, views: Sequence[memoryview]) -> None:
        self.bytes_written += sum(map(len, views))
        if self.bytes_written > 100_000:
            raise TransferFailed(End.LOCAL_WRITE, "no room", ErrorCode.DISK_FULL)

    def commit(self) -> None:
        raise AssertionError("there was no end")

    def abort(self) -> None:
        pass


class FullDisk(FolderHandler):
    """Has no room for large files."""

    def open_sink(self, request: object, agreed: object) -> Sink:
        return FullSink()


class Bytes:
    """A source of given bytes, and what it has been asked."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self.size_bytes = len(content)

    def readv(self, views: Sequence[memoryview]) -> int:
        before = len(self._content)
        for view in views:
            part, self._content = self._content[: len(view)], self._content[len(view) :]
            view[: len(part)] = part
        return before - len(self._content)

    def close(self) -> None:
        pass


class Heap:
    """A sink in memory that says what was done to it."""

    def __init__(self) -> None:
        self.content = bytearray()
        self.end = ""

    @property
    def bytes_written(self) -> int:
        return len(self.content)

    def writev(self, views: Sequence[memoryview]) -> None:
        self.content += b"".join(views)

    def commit(self) -> None:
        self.end = "committed"

    def abort(self) -> None:
        self.end = self.end or "aborted"


class TestOneSide:
    """The other side is a socket whose bytes the test writes itself."""

    @staticmethod
    def sender() -> StreamSender:
        return StreamSender(Role.PUT, AGREED)

    def test_progress_comes_at_least_at_the_end(self) -> None:
        seen: list[tuple[int, int]] = []
        near, far = socket.socketpair()
        with far, StreamConnection(near) as stream:
            far.sendall(frame(ack_bytes(1)))
            stream.send(self.sender(), Bytes(b"abc"), progress=lambda done, resends: seen.append((done, resends)))
        assert seen == [(3, 0)]

    def test_the_reason_is_the_error_and_not_the_broken_connection(self) -> None:
        near, far = socket.socketpair()
        with StreamConnection(near) as stream:
            far.sendall(frame(b"\0\5\0\3no room\0"))
            far.close()
            failed = failure(lambda: stream.send(self.sender(), Endless()))
        assert (failed.end, failed.code, failed.detail) == (End.PEER_ERROR, 3, "no room")

    def test_a_reader_that_stands_still_is_given_up(self) -> None:
        near, far = socket.socketpair()
        with far, StreamConnection(near, idle_s=0.05) as stream:
            sender = self.sender()
            failed = failure(lambda: stream.send(sender, Endless()))
            assert failed.end is End.TIMED_OUT
            assert not sender.delivered
            assert not stream.usable

    def test_a_writer_that_stands_still_is_given_up_and_told(self) -> None:
        near, far = socket.socketpair()
        sink = Heap()
        with far, StreamConnection(near, idle_s=0.05) as stream:
            far.sendall(b"\0\0\0\7\0\3\0\1ab")
            receiver = StreamReceiver(Role.GET, AGREED)
            far.shutdown(socket.SHUT_RD)
            failed = failure(lambda: stream.receive(receiver, sink))
        assert failed.end is End.TIMED_OUT
        assert sink.end == "aborted"

    def test_the_time_limit_is_shorter_than_the_patience(self) -> None:
        near, far = socket.socketpair()
        with far, StreamConnection(near, idle_s=0.1) as stream:
            failed = failure(lambda: stream.send(self.sender(), Endless(), max_time_s=0.02))
        assert failed.end is End.MAX_TIME

    def test_a_peer_that_leaves_after_the_last_block_has_sent_the_file(self) -> None:
        near, far = socket.socketpair()
        sink = Heap()
        far.sendall(b"\0\0\0\6\0\3\0\1ab")
        far.close()
        with StreamConnection(near) as stream:
            receiver = StreamReceiver(Role.GET, AGREED)
            stream.receive(receiver, sink)
            assert receiver.delivered
            assert not stream.usable
        assert (bytes(sink.content), sink.end) == (b"ab", "committed")

    def test_a_second_last_block_that_has_come_undoes_the_first(self) -> None:
        near, far = socket.socketpair()
        sink = Heap()
        with far, StreamConnection(near) as stream:
            far.sendall(b"\0\0\0\4\0\3\0\1" + b"\0\0\0\4\0\3\0\2")
            far.shutdown(socket.SHUT_WR)
            failed = failure(lambda: stream.receive(StreamReceiver(Role.GET, AGREED), sink))
            assert failed.end is End.PEER_BROKE_RULES
            assert far.recv(100) == frame(b"\0\5\0\4DATA is not allowed while settling\0")
        assert sink.end == "aborted"
