from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from blockstep.protocol.errors import ErrorCode
from blockstep.protocol.wire import Ack, Data, ErrorPacket, OptionAck, Packet, parse_untrusted
from blockstep_server.clerk import Service
from blockstep_server.config import ServerConfig
from blockstep_server.listen import Arrival
from blockstep_server.paths import Root
from blockstep_server.reply import open_fresh_port
from blockstep_server.report import Result, TransferRecord
from blockstep_server.session import serve_request
from blockstep_server.telling import Telling
from blockstep_server.upload_policy import UploadPolicy

BLANK = TransferRecord(peer="the peer")
SILENT = Telling(lambda _record: None)


class Scene:
    """A directory, a peer whose packets are there before the session begins, and what it was sent."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.root = Root(path)
        self.peer = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.peer.bind(("127.0.0.1", 0))
        self.peer.setblocking(False)

    def serve(self, request: bytes, *packets: bytes, **config: Any) -> TransferRecord:
        arrival = Arrival(request, self.peer.getsockname(), "127.0.0.1", 69)
        sockets = open_fresh_port(arrival, None, Random(1))
        for packet in packets:
            self.peer.sendto(packet, sockets.hot.getsockname())
        service = Service(ServerConfig(root=self.path, **config), self.root)
        return serve_request(request, sockets, service, BLANK, telling=SILENT)

    def answers(self) -> list[Packet]:
        found = []
        while True:
            try:
                found.append(parse_untrusted(self.peer.recv(70000)))
            except BlockingIOError:
                return found

    def close(self) -> None:
        self.peer.close()
        self.root.close()


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    scene = Scene(tmp_path)
    yield scene
    scene.close()


def request(opcode: int, name: str, *options: tuple[str, object], mode: str = "octet") -> bytes:
    fields = [name, mode, *(str(part) for option in options for part in option)]
    return bytes([0, opcode]) + b"".join(field.encode() + b"\0" for field in fields)


def data(block: int, payload: bytes) -> bytes:
    return Data(block, memoryview(payload)).to_bytes()


def ack(block: int) -> bytes:
    return Ack(block).to_bytes()


def test_a_read_without_options(scene: Scene) -> None:
    scene.path.joinpath("file").write_bytes(b"x" * 600)
    record = scene.serve(request(1, "file"), ack(1), ack(2))
    first, second = scene.answers()
    assert isinstance(first, Data)
    assert isinstance(second, Data)
    assert bytes(first.payload) + bytes(second.payload) == b"x" * 600
    assert record.result is Result.COMPLETE
    assert (record.peer, record.op, record.file, record.mode) == ("the peer", "read", "file", "octet")
    assert (record.payload_bytes, record.blocks, record.options, record.status) == (600, 2, {}, 0)


def test_a_read_with_options(scene: Scene) -> None:
    scene.path.joinpath("file").write_bytes(b"x" * 3000)
    record = scene.serve(request(1, "file", ("blksize", 1428), ("windowsize", 4), ("tsize", 0)), ack(0), ack(3))
    oack, *blocks = scene.answers()
    assert oack == OptionAck((("blksize", "1428"), ("windowsize", "4"), ("tsize", "3000")))
    assert [block.block for block in blocks if isinstance(block, Data)] == [1, 2, 3]
    assert record.options == {"blksize": 1428, "windowsize": 4, "tsize": 3000}
    assert record.result is Result.COMPLETE


def test_an_empty_file_and_netascii(scene: Scene) -> None:
    scene.path.joinpath("empty").write_bytes(b"")
    assert scene.serve(request(1, "empty", ("tsize", 0)), ack(1)).result is Result.COMPLETE
    scene.path.joinpath("text").write_bytes(b"a\nb\r")
    assert scene.serve(request(1, "text", mode="NetASCII"), ack(1)).result is Result.COMPLETE
    empty, text = scene.answers()
    assert empty == Data(1, memoryview(b""))
    assert text == Data(1, memoryview(b"a\r\nb\r\0"))


def test_a_write(scene: Scene) -> None:
    record = scene.serve(request(2, "new"), data(1, b"y" * 512), data(2, b"z"), uploads=UploadPolicy.CREATE)
    assert scene.answers() == [Ack(0), Ack(1), Ack(2)]
    assert scene.path.joinpath("new").read_bytes() == b"y" * 512 + b"z"
    assert (record.op, record.result, record.payload_bytes) == ("write", Result.COMPLETE, 513)


def test_a_write_in_netascii(scene: Scene) -> None:
    record = scene.serve(request(2, "new", mode="netascii"), data(1, b"a\r\nb"), uploads=UploadPolicy.CREATE)
    assert record.result is Result.COMPLETE
    assert scene.path.joinpath("new").read_bytes() == b"a\nb"


def test_a_size_probe_is_no_failure(scene: Scene) -> None:
    scene.path.joinpath("file").write_bytes(b"x" * 600)
    record = scene.serve(request(1, "file", ("tsize", 0)), ErrorPacket(8, "only asking").to_bytes())
    assert scene.answers() == [OptionAck((("tsize", "600"),))]
    assert (record.result, record.status, record.code) == (Result.PROBE, 0, 8)


def test_an_error_later_on_is_a_failure(scene: Scene) -> None:
    scene.path.joinpath("file").write_bytes(b"x" * 2000)
    record = scene.serve(request(1, "file", ("tsize", 0)), ack(0), ack(1), ErrorPacket(3, "disk full").to_bytes())
    assert record.result is Result.FAILED
    assert (record.code, record.detail, record.status, record.payload_bytes) == (3, "disk full", 70, 512)


REFUSALS: list[tuple[str, bytes, dict[str, Any], ErrorCode]] = [
    ("no such file", request(1, "none"), {}, ErrorCode.FILE_NOT_FOUND),
    ("a directory", request(1, "."), {}, ErrorCode.ACCESS_VIOLATION),
    ("out of the root", request(1, "../file"), {}, ErrorCode.ACCESS_VIOLATION),
    ("mail", request(1, "file", mode="mail"), {}, ErrorCode.ILLEGAL_OPERATION),
    ("unknown mode", request(1, "file", mode="binary"), {}, ErrorCode.ILLEGAL_OPERATION),
    ("no mode", b"\0\1file\0", {}, ErrorCode.ILLEGAL_OPERATION),
    ("bad option", request(1, "file", ("blksize", "1e3")), {}, ErrorCode.OPTION_REFUSED),
    ("read-only", request(2, "new"), {}, ErrorCode.ACCESS_VIOLATION),
    ("exists", request(2, "file"), {"uploads": UploadPolicy.CREATE}, ErrorCode.FILE_EXISTS),
    (
        "too large",
        request(2, "new", ("tsize", 100)),
        {"uploads": UploadPolicy.CREATE, "max_upload_bytes": 99},
        ErrorCode.DISK_FULL,
    ),
]


@pytest.mark.parametrize(
    ("words", "config", "code"), [case[1:] for case in REFUSALS], ids=[case[0] for case in REFUSALS]
)
def test_a_refusal_is_one_error_and_changes_nothing(
    scene: Scene, words: bytes, config: dict[str, Any], code: ErrorCode
) -> None:
    scene.path.joinpath("file").write_bytes(b"old")
    record = scene.serve(words, **config)
    (answer,) = scene.answers()
    assert isinstance(answer, ErrorPacket)
    assert answer.code == code
    assert str(scene.path) not in answer.message
    assert len(answer.to_bytes()) <= 64
    assert (record.result, record.code, record.status) == (Result.REFUSED, code, 67 + code)
    assert [path.name for path in scene.path.iterdir()] == ["file"]
    assert scene.path.joinpath("file").read_bytes() == b"old"


def test_a_peer_that_is_gone_is_given_up_at_once(scene: Scene) -> None:
    scene.path.joinpath("file").write_bytes(b"x" * 600)
    address = scene.peer.getsockname()
    arrival = Arrival(request(1, "file"), address, "127.0.0.1", 69)
    sockets = open_fresh_port(arrival, None, Random(1))
    scene.peer.close()
    service = Service(ServerConfig(root=scene.path), scene.root)
    record = serve_request(arrival.data, sockets, service, BLANK, telling=SILENT)
    assert (record.result, record.detail) == (Result.FAILED, "the peer's port is closed")
    assert record.seconds < 0.5


@pytest.mark.parametrize(
    ("config", "asked", "granted"),
    [
        ({}, 65464, 65464),
        ({"mtu": "auto"}, 65464, 65464),  # loopback has room for it
        ({"mtu": 1500}, 65464, 1468),
        ({"mtu": 68}, 65464, 36),
        ({"mtu": 1500, "blksize_max": 512}, 65464, 512),
        ({"mtu": 1500}, 512, 512),
    ],
)
def test_blocks_need_no_fragments(scene: Scene, config: dict[str, Any], asked: int, granted: int) -> None:
    scene.path.joinpath("file").write_bytes(b"x")
    scene.serve(request(1, "file", ("blksize", asked)), ack(0), ack(1), **config)
    assert scene.answers()[0] == OptionAck((("blksize", str(granted)),))


def test_a_refused_option_is_as_if_unknown(scene: Scene) -> None:
    scene.path.joinpath("file").write_bytes(b"x")
    record = scene.serve(request(1, "file", ("blksize", 1428)), ack(1), refuse=frozenset({"blksize"}))
    assert scene.answers() == [Data(1, memoryview(b"x"))]
    assert record.options == {}


def test_the_total_time_is_limited(scene: Scene) -> None:
    scene.path.joinpath("file").write_bytes(b"x" * 600)
    record = scene.serve(request(1, "file"), ack(1), max_time_s=0.05)
    assert (record.result, record.status) == (Result.FAILED, 28)
    assert "too long" in record.detail
