from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blockstep.protocol.errors import End, LocalError, TransferFailed
from blockstep.protocol.framing import frame
from blockstep.protocol.options import Agreed, Wanted
from blockstep.protocol.stream import stream_wanted
from blockstep.protocol.wire import ErrorPacket, Opcode, OptionAck, Request, ack_bytes
from blockstep.transport.atomic import AtomicFileSink
from blockstep.transport.files import Sink, StreamSink, StreamSource
from blockstep.transport.stream_client import ClientStream
from support.streams import FolderHandler, serving, short_wait

READ = Request(Opcode.RRQ, "name", "octet")
WRITE = Request(Opcode.WRQ, "name", "octet")
OLD = b"the old content"


def data(block: int, payload: bytes) -> bytes:
    return (len(payload) + 4).to_bytes(4, "big") + b"\0\3" + block.to_bytes(2, "big") + payload


def get_from(said: bytes, sink_for: Callable[[Agreed], Sink], wanted: Wanted | None = None) -> tuple[bytes, bool]:
    """Read from a server that says all this at once and closes: what it hears, and whether the connection goes on.

    Everything fits into the sockets' buffers, so one thread plays both.
    """
    near, far = socket.socketpair()
    with far, ClientStream(near, idle_s=1.0) as stream:
        far.sendall(said)
        far.shutdown(socket.SHUT_WR)
        try:
            stream.get(READ, wanted or Wanted(), sink_for)
        finally:
            usable = stream.usable
            stream.close()
            heard = short_wait(far)
    return heard, usable


@pytest.fixture
def target(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(OLD)
    return path


def at(target: Path) -> Callable[[Agreed], Sink]:
    return lambda _: AtomicFileSink.at(target)


ASKED = frame(READ.to_bytes())
ANSWER = data(1, b"n" * 512) + data(2, b"ew")
LIES = {
    "length 0": b"\0\0\0\0",
    "length 3": b"\0\0\0\3\0\3\0",
    "length 2^31": b"\x80\0\0\0",
    "block 2 first": data(2, b""),
    "block too large": data(1, b"x" * 513),
    "ACK": frame(ack_bytes(0)),
    "a request": frame(READ.to_bytes()),
    "an OACK that was not asked for": frame(OptionAck((("blksize", "8"),)).to_bytes()),
    "unknown opcode": b"\0\0\0\4\0\7\0\0",
    "ACK among DATA": data(1, b"x" * 512) + frame(ack_bytes(1)),
    "OACK among DATA": data(1, b"x" * 512) + frame(OptionAck((("blksize", "8"),)).to_bytes()),
    "two last blocks": data(1, b"") + data(2, b""),
}


def test_a_read(target: Path) -> None:
    assert get_from(ANSWER, at(target)) == (ASKED + frame(ack_bytes(2)), True)
    assert target.read_bytes() == b"n" * 512 + b"ew"


@pytest.mark.parametrize("offset", [*range(20), 519, 520, 521, 527, 528, len(ANSWER) - 1])
def test_an_answer_that_is_cut_leaves_the_old_file_and_nothing_else(target: Path, offset: int) -> None:
    with pytest.raises(TransferFailed) as caught:
        get_from(ANSWER[:offset], at(target))
    assert caught.value.end is End.PEER_GONE
    assert "closed" in caught.value.detail
    assert target.read_bytes() == OLD
    assert os.listdir(target.parent) == ["file"]


@pytest.mark.parametrize("lie", LIES)
def test_a_server_that_lies_is_told_and_nothing_is_written(target: Path, lie: str) -> None:
    near, far = socket.socketpair()
    with far, ClientStream(near) as stream:
        far.sendall(LIES[lie])
        far.shutdown(socket.SHUT_WR)
        with pytest.raises(TransferFailed) as caught:
            stream.get(READ, Wanted(), at(target))
        assert not stream.usable
        told = frame(ErrorPacket(caught.value.code or 0, caught.value.detail).to_bytes())
        assert short_wait(far) == ASKED + told
    assert caught.value.end is End.PEER_BROKE_RULES
    assert target.read_bytes() == OLD
    assert os.listdir(target.parent) == ["file"]


def test_an_error_leaves_the_connection_and_its_text_is_made_safe(target: Path) -> None:
    near, far = socket.socketpair()
    with far, ClientStream(near) as stream:
        far.sendall(frame(ErrorPacket(1, "no\x1b[31m").to_bytes()) + ANSWER)
        with pytest.raises(TransferFailed, match=r"no\\x1b\[31m") as caught:
            stream.get(READ, Wanted(), at(target))
        assert (caught.value.end, caught.value.code) == (End.PEER_ERROR, 1)
        stream.get(READ, Wanted(), at(target))
    assert target.read_bytes() == b"n" * 512 + b"ew"


def test_an_error_in_the_middle_of_the_file_ends_the_connection(target: Path) -> None:
    said = data(1, b"n" * 512) + frame(ErrorPacket(0, "it was changed").to_bytes())
    with pytest.raises(TransferFailed, match="it was changed"):
        get_from(said, at(target))
    assert target.read_bytes() == OLD


def test_a_sink_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    near, far = socket.socketpair()
    with far, ClientStream(near) as stream:
        far.sendall(ANSWER)
        far.shutdown(socket.SHUT_WR)
        with pytest.raises(TransferFailed, match="no such file"):
            stream.get(READ, Wanted(), at(tmp_path / "no" / "folder"))
        assert short_wait(far).endswith(b"the file cannot be written: no such file or directory\0")
        with pytest.raises(LocalError, match="closed"):
            stream.get(READ, Wanted(), at(tmp_path / "file"))


def test_an_interrupt_is_told(target: Path) -> None:
    def interrupted(_: Agreed) -> Sink:
        raise KeyboardInterrupt

    near, far = socket.socketpair()
    with far, ClientStream(near) as stream:
        far.sendall(ANSWER)
        far.shutdown(socket.SHUT_WR)
        with pytest.raises(KeyboardInterrupt):
            stream.get(READ, Wanted(), interrupted)
        assert short_wait(far).endswith(b"the transfer was stopped\0")


def test_a_server_that_does_not_answer(target: Path) -> None:
    near, far = socket.socketpair()
    with far, ClientStream(near, idle_s=0.02) as stream, pytest.raises(TransferFailed) as caught:
        stream.get(READ, Wanted(), at(target))
    assert caught.value.end is End.TIMED_OUT


def test_the_size_is_known_before_the_sink_is_made(target: Path) -> None:
    seen: list[Agreed] = []

    def sink_for(agreed: Agreed) -> Sink:
        seen.append(agreed)
        return AtomicFileSink.at(target)

    oack = OptionAck((("tsize", "3"), ("blksize", "8"))).to_bytes()
    get_from(frame(oack) + data(1, b"abc"), sink_for, stream_wanted(tsize=0))
    assert seen == [Agreed(blksize=8, tsize=3)]


def test_pipes_are_as_good_as_files(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    (tmp_path / "there").write_bytes(b"through a pipe")
    with serving("pair", FolderHandler(tmp_path)) as sock, ClientStream(sock) as stream:
        asked = Request(Opcode.RRQ, "there", "octet")
        stream.get(asked, Wanted(), lambda _: StreamSink(writing, owned=True))
        with contextlib.closing(StreamSource(reading, owned=True)) as source:
            stream.put(Request(Opcode.WRQ, "back", "octet"), Wanted(), source)
    assert (tmp_path / "back").read_bytes() == b"through a pipe"


@pytest.mark.parametrize("said", [data(1, b""), frame(ack_bytes(1)), frame(READ.to_bytes())])
def test_a_write_that_is_answered_with_anything_else(said: bytes) -> None:
    near, far = socket.socketpair()
    with far, ClientStream(near) as stream:
        far.sendall(said)
        far.shutdown(socket.SHUT_WR)
        with pytest.raises(TransferFailed) as caught:
            stream.open_write(WRITE, Wanted())
        assert caught.value.end is End.PEER_BROKE_RULES
        assert not stream.usable


pieces = st.sampled_from([ANSWER, data(1, b"n" * 512), data(2, b""), *LIES.values()])


@given(st.lists(pieces | st.binary(max_size=30), max_size=5).map(b"".join))
def test_whatever_a_server_says_it_is_a_file_or_a_failure(said: bytes) -> None:
    reading, writing = os.pipe()
    sink = StreamSink(writing, owned=True)
    try:
        get_from(said, lambda _: sink)
    except TransferFailed:
        pass
    finally:
        sink.abort()
        os.close(reading)
