from __future__ import annotations

import pytest

from blockstep.protocol.errors import End, ErrorCode, TransferFailed
from blockstep.transport.files import Sink
from blockstep.transport.sized import SizedSink
from support.loopback import MemorySink


def write(sink: Sink, *pieces: bytes) -> None:
    for piece in pieces:
        sink.writev([memoryview(piece)])


@pytest.mark.parametrize("pieces", [(b"123",), (b"12", b"3"), (b"12", b"", b"3")])
def test_what_was_announced_is_committed(pieces: tuple[bytes, ...]) -> None:
    inner = MemorySink()
    sink: Sink = SizedSink(inner, 3)
    write(sink, *pieces)
    sink.commit()
    assert (inner.content, inner.committed, sink.bytes_written) == (b"123", True, 3)


def test_nothing_can_be_announced() -> None:
    inner = MemorySink()
    SizedSink(inner, 0).commit()
    assert inner.committed


def test_more_ends_it_at_once() -> None:
    inner = MemorySink()
    sink = SizedSink(inner, 3)
    write(sink, b"12")
    with pytest.raises(TransferFailed, match="3 bytes were announced and more sent") as caught:
        write(sink, b"34")
    assert (caught.value.end, caught.value.code) == (End.PEER_BROKE_RULES, ErrorCode.UNDEFINED)
    assert inner.aborted


def test_less_is_never_committed() -> None:
    inner = MemorySink()
    sink = SizedSink(inner, 3)
    write(sink, b"12")
    with pytest.raises(TransferFailed, match="3 bytes were announced and only 2 sent"):
        sink.commit()
    assert (inner.aborted, inner.committed) == (True, False)
