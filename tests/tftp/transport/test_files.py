from __future__ import annotations

import os
import random
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blockstep.protocol.errors import End, ErrorCode, LocalError, TransferFailed
from blockstep.transport.files import (
    AtomicFileSink,
    FileSource,
    NetasciiSink,
    NetasciiSource,
    Source,
    StreamSink,
    StreamSource,
    sink_at,
    source_at,
)


def slots(count: int, size: int) -> list[memoryview]:
    view = memoryview(bytearray(count * size))
    return [view[at : at + size] for at in range(0, count * size, size)]


def read_all(source: Source, views: list[memoryview]) -> bytes:
    """Everything, as a sender reads it: bursts until one comes out short."""
    room = sum(map(len, views))
    out = bytearray()
    while True:
        got = source.readv(views)
        out += b"".join(views)[:got]
        if got < room:
            return bytes(out)


def open_source(path: Path) -> FileSource:
    return FileSource(os.open(path, os.O_RDONLY | os.O_CLOEXEC))


def aged_file(path: Path, content: bytes) -> Path:
    """A file that was not touched just now, so that any write shows in its times whatever the kernel's clock tick."""
    path.write_bytes(content)
    os.utime(path, ns=(10**18, 10**18))
    return path


CONTENT = random.Random(1350).randbytes(10_000)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return aged_file(tmp_path / "file", CONTENT)


@pytest.fixture
def source(file: Path) -> Iterator[FileSource]:
    opened = open_source(file)
    yield opened
    opened.close()


class TestFileSource:
    @pytest.mark.parametrize("size", [0, 1, 511, 512, 513, 5120, 9999, 10_000])
    @pytest.mark.parametrize(("count", "slot"), [(1, 512), (3, 512), (64, 1428), (1500, 7)])
    def test_reads_everything_once_and_in_order(self, tmp_path: Path, size: int, count: int, slot: int) -> None:
        source = open_source(aged_file(tmp_path / "x", CONTENT[:size]))
        assert source.size_bytes == size
        views = slots(count, slot)
        assert read_all(source, views) == CONTENT[:size]
        assert source.readv(views) == 0
        assert source.readv([]) == 0
        source.close()
        source.close()

    def test_refuses_what_is_not_a_regular_file(self) -> None:
        reader, writer = os.pipe()
        with pytest.raises(LocalError):
            FileSource(reader)
        os.close(reader)
        os.close(writer)

    def test_a_failing_read_is_the_transfers_end(self, tmp_path: Path) -> None:
        path = tmp_path / "x"
        source = FileSource(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
        with pytest.raises(TransferFailed) as caught:
            source.readv(slots(1, 8))
        assert caught.value.end is End.LOCAL_READ
        source.close()


def truncate(path: Path) -> None:
    os.truncate(path, 5000)


def truncate_to_nothing(path: Path) -> None:
    os.truncate(path, 0)


def grow(path: Path) -> None:
    with path.open("ab") as out:
        out.write(b"more")


def rewrite_one_byte(path: Path) -> None:
    with path.open("r+b") as out:
        out.write(b"?")


def rewrite_and_set_the_time_back(path: Path) -> None:
    before = path.stat()
    # Bounded by the clock tick of a kernel with coarse file times (10 ms at most).
    while path.stat().st_ctime_ns == before.st_ctime_ns:
        rewrite_one_byte(path)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def shrink_and_grow_back(path: Path) -> None:
    os.truncate(path, 9_000)
    os.truncate(path, 10_000)


def replace_by_rename(path: Path) -> None:
    other = path.with_name("other")
    other.write_bytes(b"another version")
    other.replace(path)


def move_aside_and_replace(path: Path) -> None:
    path.rename(path.with_name("previous"))
    path.write_bytes(b"another version")


def unlink(path: Path) -> None:
    path.unlink()


def link_twice(path: Path) -> None:
    os.link(path, path.with_name("second"))


def change_mode(path: Path) -> None:
    path.chmod(0o600)


CHANGES = [
    truncate,
    truncate_to_nothing,
    grow,
    rewrite_one_byte,
    rewrite_and_set_the_time_back,
    shrink_and_grow_back,
]
HARMLESS = [replace_by_rename, move_aside_and_replace, unlink, link_twice, change_mode]


class TestReadsThatStayTrue:
    @pytest.mark.parametrize("change", CHANGES)
    @pytest.mark.parametrize("bursts_before", [0, 1, 9])
    @pytest.mark.parametrize("slot", [500, 512])
    def test_a_change_in_place_never_ends_normally(
        self, file: Path, source: FileSource, change: Callable[[Path], None], bursts_before: int, slot: int
    ) -> None:
        views = slots(2, slot)
        for _ in range(bursts_before):
            assert source.readv(views) == 2 * slot
        change(file)
        with pytest.raises(TransferFailed) as caught:
            read_all(source, views)
        assert (caught.value.end, caught.value.code) == (End.LOCAL_READ, ErrorCode.UNDEFINED)
        assert caught.value.detail == "the file was changed while it was being sent"

    @pytest.mark.parametrize("change", CHANGES)
    def test_a_change_before_the_empty_last_block_is_seen(
        self, file: Path, source: FileSource, change: Callable[[Path], None]
    ) -> None:
        views = slots(10, 1000)
        assert source.readv(views) == 10_000  # all of it, but a full block does not end a transfer
        change(file)
        with pytest.raises(TransferFailed):
            source.readv(views)

    @pytest.mark.parametrize("change", HARMLESS)
    def test_what_leaves_the_open_file_alone_is_harmless(
        self, file: Path, source: FileSource, change: Callable[[Path], None]
    ) -> None:
        views = slots(3, 512)
        assert source.readv(views) == 3 * 512
        first = b"".join(views)
        change(file)
        assert first + read_all(source, views) == CONTENT

    @given(size=st.integers(0, 3000), slot=st.integers(1, 600), when=st.integers(0, 20), seed=st.randoms())
    @settings(max_examples=60, deadline=None)
    def test_a_short_read_is_never_handed_out_after_a_change(
        self, size: int, slot: int, when: int, seed: random.Random
    ) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = aged_file(Path(folder, "x"), seed.randbytes(size))
            source = open_source(path)
            views = slots(2, slot)
            try:
                for _ in range(when):
                    if source.readv(views) < 2 * slot:
                        return  # it ended before the change
                path.write_bytes(seed.randbytes(seed.choice([size, size + 1, size // 2, size + 2 * slot])))
                with pytest.raises(TransferFailed):
                    read_all(source, views)
            finally:
                source.close()


class TestStreams:
    def test_fills_whole_views_from_a_writer_that_dribbles(self) -> None:
        reader, writer = os.pipe()

        def dribble() -> None:
            for at in range(0, len(CONTENT), 77):
                os.write(writer, CONTENT[at : at + 77])
            os.close(writer)

        thread = threading.Thread(target=dribble)
        thread.start()
        source = StreamSource(reader, owned=True)
        assert source.size_bytes is None
        views = slots(4, 512)
        assert source.readv(views) == 2048
        assert b"".join(views) + read_all(source, views) == CONTENT
        assert source.readv(views) == 0
        thread.join()
        source.close()

    def test_a_non_blocking_pipe_is_waited_for(self) -> None:
        reader, writer = os.pipe()
        os.set_blocking(reader, False)
        os.set_blocking(writer, False)
        big = CONTENT * 30  # more than a pipe holds
        thread = threading.Thread(target=write_and_close, args=(writer, big))
        thread.start()
        source = StreamSource(reader, owned=True)
        assert read_all(source, slots(7, 1000)) == big
        thread.join()
        source.close()

    def test_a_reader_that_is_gone_fails_the_transfer(self) -> None:
        reader, writer = os.pipe()
        os.close(reader)
        sink = StreamSink(writer, owned=True)
        with pytest.raises(TransferFailed) as caught:
            sink.writev(slots(1, 8))
        assert caught.value.end is End.LOCAL_WRITE
        sink.abort()

    def test_leaves_a_descriptor_open_that_is_not_its_own(self) -> None:
        reader, writer = os.pipe()
        StreamSource(reader).close()
        StreamSink(writer).commit()
        os.close(reader)
        os.close(writer)

    def test_a_failing_stream_read_is_the_transfers_end(self) -> None:
        reader, writer = os.pipe()
        with pytest.raises(TransferFailed) as caught:
            StreamSource(writer).readv(slots(1, 8))
        assert caught.value.end is End.LOCAL_READ
        os.close(reader)
        os.close(writer)


def write_and_close(fd: int, content: bytes) -> None:
    sink = StreamSink(fd, owned=True)
    sink.writev([memoryview(content)])
    assert sink.bytes_written == len(content)
    sink.commit()


class TestNetascii:
    @given(
        text=st.lists(st.sampled_from([b"\r", b"\n", b"\0", b"a", b"\r\n", b"\xff" * 700])).map(b"".join),
        slot=st.integers(1, 40),
    )
    @settings(max_examples=60, deadline=None)
    def test_what_goes_in_comes_out(self, text: bytes, slot: int) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = aged_file(Path(folder, "x"), text)
            source = NetasciiSource(open_source(path))
            assert source.size_bytes is None
            wire = read_all(source, slots(3, slot))
            source.close()
            assert wire == text.replace(b"\r", b"\r\0").replace(b"\n", b"\r\n")
            sink = NetasciiSink(AtomicFileSink.at(Path(folder, "y")))
            for at in range(0, len(wire), slot):
                sink.writev([memoryview(wire)[at : at + slot]])
            sink.commit()
            assert Path(folder, "y").read_bytes() == text
            assert sink.bytes_written == len(text)

    def test_a_lone_cr_at_the_end_is_kept_and_an_abort_reaches_the_file(self, tmp_path: Path) -> None:
        sink = NetasciiSink(AtomicFileSink.at(tmp_path / "kept"))
        sink.writev([memoryview(b"a\r")])
        sink.commit()
        assert (tmp_path / "kept").read_bytes() == b"a\r"
        sink = NetasciiSink(AtomicFileSink.at(tmp_path / "gone"))
        sink.writev([memoryview(b"a\r\n")])
        sink.abort()
        assert os.listdir(tmp_path) == ["kept"]

    def test_a_file_longer_than_its_buffer(self, tmp_path: Path) -> None:
        text = b"line\n" * 40_000
        source = NetasciiSource(open_source(aged_file(tmp_path / "x", text)))
        assert read_all(source, slots(64, 512)) == text.replace(b"\n", b"\r\n")
        source.close()

    def test_a_change_below_never_ends_normally(self, file: Path, source: FileSource) -> None:
        encoded = NetasciiSource(source)
        views = slots(1, 512)
        rewrite_one_byte(file)
        with pytest.raises(TransferFailed):
            read_all(encoded, views)


class TestByPath:
    def test_source_at_tells_files_from_pipes_and_directories(self, file: Path, tmp_path: Path) -> None:
        source = source_at(file)
        assert source.size_bytes == len(CONTENT)
        source.close()
        device = source_at(Path("/dev/null"))
        assert device.readv(slots(1, 8)) == 0
        device.close()
        for path, code in [(tmp_path, ErrorCode.ACCESS_VIOLATION), (tmp_path / "none", ErrorCode.FILE_NOT_FOUND)]:
            with pytest.raises(TransferFailed) as caught:
                source_at(path)
            assert (caught.value.end, caught.value.code) == (End.LOCAL_READ, code)

    def test_sink_at_writes_through_to_what_is_not_a_file(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "fifo")
        reader = os.open(tmp_path / "fifo", os.O_RDONLY | os.O_NONBLOCK)
        sink = sink_at(tmp_path / "fifo")
        sink.writev([memoryview(b"through")])
        sink.commit()
        assert os.read(reader, 100) == b"through"
        os.close(reader)

    def test_sink_at_makes_files_and_refuses_directories(self, tmp_path: Path) -> None:
        sink = sink_at(tmp_path / "new", expected_bytes=3)
        sink.writev([memoryview(b"abc")])
        assert os.listdir(tmp_path) == []
        sink.commit()
        assert (tmp_path / "new").read_bytes() == b"abc"
        for path in (tmp_path, tmp_path / "none" / "x", tmp_path / "new" / "x"):
            with pytest.raises(TransferFailed) as caught:
                sink_at(path)
            assert caught.value.end is End.LOCAL_WRITE
