from __future__ import annotations

import os
import random
import socket
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blockstep.protocol.errors import End, TransferFailed
from blockstep.protocol.framing import frame
from blockstep.protocol.stream import REQUESTS_WAITING, stream_limits
from blockstep.protocol.wire import ErrorPacket, Opcode, OptionAck, Request, ack_bytes
from blockstep.transport.stream_server import ServerStream, serve_connection
from support.streams import KINDS, FolderHandler, connected, serving, short_wait

OLD = b"the old content"
NEW = random.Random(3).randbytes(40)


def request(opcode: Opcode, name: str, *options: tuple[str, str]) -> bytes:
    return frame(Request(opcode, name, "octet", options).to_bytes())


def data(block: int, payload: bytes) -> bytes:
    return (len(payload) + 4).to_bytes(4, "big") + b"\0\3" + block.to_bytes(2, "big") + payload


def oack(*options: tuple[str, str]) -> bytes:
    return frame(OptionAck(options).to_bytes())


def error(code: int, text: str) -> bytes:
    return frame(ErrorPacket(code, text).to_bytes())


WRQ = request(Opcode.WRQ, "file", ("blksize", "16"))
UPLOAD = WRQ + data(1, NEW[:16]) + data(2, NEW[16:32]) + data(3, NEW[32:])
AGREED = oack(("blksize", "16"))
ACK_3 = frame(ack_bytes(3))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "file").write_bytes(OLD)
    return tmp_path


def answer(folder: Path, said: bytes, *, closes: bool = True) -> tuple[bytes, FolderHandler]:
    """A client that says all this at once and then no more: what it hears, and what the server's handler was told.

    Everything fits into the sockets' buffers, so one thread plays both.
    """
    handler = FolderHandler(folder)
    near, far = socket.socketpair()
    with near, far:
        near.sendall(said)
        if closes:
            near.shutdown(socket.SHUT_WR)
        serve_connection(ServerStream(far, idle_s=0.05, request_timeout_s=0.05), handler)
        return short_wait(near), handler


def received(sock: socket.socket, expected: bytes) -> bool:
    """Whether this is what comes next."""
    got = b""
    while len(got) < len(expected) and (piece := sock.recv(len(expected) - len(got))):
        got += piece
    return got == expected


def test_an_upload(folder: Path) -> None:
    heard, handler = answer(folder, UPLOAD)
    assert heard == AGREED + ACK_3
    assert (folder / "file").read_bytes() == NEW
    assert handler.failures == [""]
    assert os.listdir(folder) == ["file"]


@pytest.mark.parametrize("offset", range(len(UPLOAD)))
def test_an_upload_that_is_cut_anywhere_leaves_the_old_file_and_nothing_else(folder: Path, offset: int) -> None:
    heard, handler = answer(folder, UPLOAD[:offset])
    assert (folder / "file").read_bytes() == OLD
    assert os.listdir(folder) == ["file"]
    assert ACK_3 not in heard
    if offset:
        (failed,) = (failure for _, _, failure in handler.ends)
        assert isinstance(failed, TransferFailed)
        assert failed.end is End.PEER_GONE
        assert "closed" in failed.detail
    else:
        assert handler.ends == []


@pytest.mark.parametrize("offset", [0, 1, 3, len(WRQ) - 1, len(WRQ), len(WRQ) + 20, len(UPLOAD) - 1])
def test_an_upload_that_stands_still_is_dropped(folder: Path, offset: int) -> None:
    heard, handler = answer(folder, UPLOAD[:offset], closes=False)
    assert (folder / "file").read_bytes() == OLD
    (failed,) = (failure for _, _, failure in handler.ends)
    assert isinstance(failed, TransferFailed)
    assert failed.end is End.TIMED_OUT
    assert heard.endswith(error(0, failed.detail))


BLOCK_LATER = "DATA is not allowed while settling"
LIES = {
    "length 0": (b"\0\0\0\0", "a frame has 4 to 1048580 octets"),
    "length 3": (b"\0\0\0\3\0\1\0", "a frame has 4 to 1048580 octets"),
    "length 2^31": (b"\x80\0\0\0", "a frame has 4 to 1048580 octets"),
    "HTTP": (b"GET / HTTP/1.1\r\n\r\n", "a frame has 4 to 1048580 octets"),
    "DATA first": (data(1, NEW), "DATA where a request is due"),
    "ACK first": (frame(ack_bytes(0)), "not a request"),
    "OACK first": (AGREED, "not a request"),
    "unknown opcode": (b"\0\0\0\4\0\7\0\0", "not a request"),
    "long request": (b"\0\0\x10\0\0\2" + b"n" * 100, "only DATA may be longer than 1472 octets"),
    "length 0 for DATA": (WRQ + b"\0\0\0\0", "a frame has 4 to 1048580 octets"),
    "block 2 first": (WRQ + data(2, NEW[:16]), "the DATA is not the next block"),
    "block twice": (WRQ + data(1, NEW[:16]) * 2, "the DATA is not the next block"),
    "block too large": (WRQ + data(1, NEW), "the DATA is larger than was agreed"),
    "two last blocks": (WRQ + data(1, NEW[:3]) + data(2, b""), BLOCK_LATER),
    "a block after the last": (UPLOAD + data(4, NEW[:16]), BLOCK_LATER),
    "ACK among DATA": (WRQ + data(1, NEW[:16]) + frame(ack_bytes(1)), "ACK is not allowed while moving"),
    "unknown opcode among DATA": (WRQ + data(1, NEW[:16]) + b"\0\0\0\4\0\7\0\0", "unknown opcode"),
    "too many requests": (WRQ * (REQUESTS_WAITING + 2), "more than 16 requests are waiting"),
    "ACK too early": (request(Opcode.RRQ, "file") + frame(ack_bytes(2)), "the ACK is not for the last block"),
}


@pytest.mark.parametrize("lie", LIES)
def test_who_lies_is_told_once_and_nothing_is_written(folder: Path, lie: str) -> None:
    said, text = LIES[lie]
    heard, handler = answer(folder, said)
    code = 0 if lie == "too many requests" else 4
    assert heard.endswith(error(code, text))
    assert handler.failures == [text]
    assert (folder / "file").read_bytes() == OLD
    assert os.listdir(folder) == ["file"]


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (request(Opcode.RRQ, "missing"), 1),
        (request(Opcode.RRQ, "file", ("blksize", "x")), 8),
        (request(Opcode.WRQ, "no/such/folder"), 0),
        (frame(b"\0\1file\0mail\0"), 4),
        (frame(b"\0\1file\0octet\0tsize\x000\0tsize\x000\0"), 8),
        (frame(b"\0\1file"), 4),
    ],
)
def test_a_request_that_cannot_be_served_costs_one_error_and_not_the_connection(
    folder: Path, raw: bytes, code: int
) -> None:
    heard, handler = answer(folder, raw + UPLOAD)
    assert heard[4:8] == b"\0\5\0" + bytes([code])
    assert heard.endswith(AGREED + ACK_3)
    assert handler.failures[1:] == [""]


def test_pipelined_requests_are_answered_in_order(folder: Path) -> None:
    (folder / "a").write_bytes(b"first")
    (folder / "b").write_bytes(b"second")
    said = (
        request(Opcode.RRQ, "a") + request(Opcode.RRQ, "b") + request(Opcode.RRQ, "missing") + request(Opcode.RRQ, "a")
    )
    heard, handler = answer(folder, said + frame(ack_bytes(1)) * 3)
    first = data(1, b"first")
    assert heard.startswith(first + data(1, b"second"))
    assert heard.endswith(first)
    assert [failure and failure.code for _, _, failure in handler.ends] == [None, None, 1, None]


def test_pipelined_requests_wait_through_an_upload(folder: Path) -> None:
    handler = FolderHandler(folder)
    with serving("pair", handler) as sock:
        sock.sendall(WRQ + request(Opcode.RRQ, "file") + UPLOAD[len(WRQ) :])
        assert received(sock, AGREED + ACK_3 + data(1, NEW))
        sock.sendall(frame(ack_bytes(1)))
    assert handler.failures == ["", ""]


def test_an_error_ends_the_transfer_and_the_connection(folder: Path) -> None:
    for before in (WRQ, WRQ + data(1, NEW[:16]), UPLOAD, request(Opcode.RRQ, "file", ("tsize", "0"))):
        _, handler = answer(folder, before + error(3, "no\x1broom") + UPLOAD)
        assert handler.failures == ["no\\x1broom"]
        assert (folder / "file").read_bytes() == OLD


def test_an_error_between_transfers_is_a_goodbye(folder: Path) -> None:
    handler = FolderHandler(folder)
    with serving("pair", handler) as sock:
        sock.sendall(UPLOAD)
        assert received(sock, AGREED + ACK_3)
        sock.sendall(error(0, "that was all"))
        assert short_wait(sock) == b""
    assert handler.failures == [""]


def test_a_client_that_has_been_served_may_just_stay_silent(folder: Path) -> None:
    heard, handler = answer(folder, UPLOAD, closes=False)
    assert heard == AGREED + ACK_3
    assert handler.failures == [""]


def test_windowsize_is_not_granted(folder: Path) -> None:
    heard, _ = answer(folder, request(Opcode.RRQ, "file", ("windowsize", "8"), ("tsize", "0")) + frame(ack_bytes(1)))
    assert heard == oack(("tsize", "15")) + data(1, OLD)


def test_the_handlers_limits_hold(folder: Path) -> None:
    handler = FolderHandler(folder, limits=stream_limits(blksize_max=8, refuse=frozenset({"tsize"})))
    near, far = socket.socketpair()
    with near, far:
        near.sendall(request(Opcode.RRQ, "file", ("blksize", "65536"), ("tsize", "0")) + frame(ack_bytes(2)))
        near.shutdown(socket.SHUT_WR)
        serve_connection(ServerStream(far), handler)
        assert short_wait(near) == oack(("blksize", "8")) + data(1, OLD[:8]) + data(2, OLD[8:])


@pytest.mark.parametrize("kind", KINDS)
def test_a_connection_without_a_complete_request_is_dropped(kind: str, folder: Path) -> None:
    handler = FolderHandler(folder)
    with serving(kind, handler, request_timeout_s=0.05) as sock:
        sock.sendall(WRQ[:-1])
        assert short_wait(sock) == error(0, "no request came within 0.05 s")
    (failed,) = (failure for _, _, failure in handler.ends)
    assert isinstance(failed, TransferFailed)
    assert failed.end is End.TIMED_OUT


@pytest.mark.parametrize("kind", KINDS)
def test_a_lie_is_answered_although_more_is_on_its_way(kind: str, folder: Path) -> None:
    """More than the receiver's buffer holds: closing at once would reset the connection and lose the ERROR."""
    handler = FolderHandler(folder)
    with serving(kind, handler) as sock:
        sock.sendall(WRQ + data(7, bytes(16)) + bytes(3_000_000))
        assert short_wait(sock) == AGREED + error(4, "the DATA is not the next block")


def test_a_request_after_the_end_of_the_connection_is_none() -> None:
    with connected("pair") as (_, server):
        stream = ServerStream(server())
        stream.close()
        assert stream.next_request() is None


pieces = st.sampled_from([WRQ, UPLOAD, *(said for said, _ in LIES.values()), request(Opcode.RRQ, "file"), ACK_3])
uploads_of_nothing = st.lists(pieces | st.binary(max_size=30), max_size=6).map(b"".join)


@given(uploads_of_nothing, st.integers(0, 400))
def test_whatever_comes_a_file_is_old_or_new_and_nobody_crashes(said: bytes, cut: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "file").write_bytes(OLD)
        heard, handler = answer(folder, said[: max(0, len(said) - cut)])
        assert (folder / "file").read_bytes() in (OLD, NEW, NEW[:3], b"")
        assert os.listdir(folder) == ["file"]
        assert not heard or handler.ends


def test_the_octets_of_docs_protocol(folder: Path) -> None:
    (folder / "boot").write_bytes(bytes(70_000))
    handler = FolderHandler(folder)
    asked = "00000023 0001626f6f74006f6374657400 626c6b73697a6500363535333600 7473697a65003000"
    offered = "0000001c 0006626c6b73697a6500363535333600 7473697a6500373030303000"
    with serving("pair", handler) as sock:
        sock.sendall(bytes.fromhex(asked))
        assert received(sock, bytes.fromhex(offered))
        assert received(sock, bytes.fromhex("00010004 00030001") + bytes(65_536))
        assert received(sock, bytes.fromhex("00001174 00030002") + bytes(4464))
        sock.sendall(bytes.fromhex("00000004 00040002"))
        sock.sendall(bytes.fromhex("0000000d 0002626f6f74006f6374657400"))
        assert received(sock, bytes.fromhex("00000004 00040000"))
        sock.sendall(bytes.fromhex("00000007 00030001616263"))
        assert received(sock, bytes.fromhex("00000004 00040001"))
    assert (folder / "boot").read_bytes() == b"abc"
