from __future__ import annotations

import socket
import threading
from pathlib import Path
from typing import Any

import pytest

from blockstep.protocol.errors import End, TransferFailed
from blockstep.protocol.framing import frame
from blockstep.protocol.wire import ErrorPacket, Opcode, OptionAck, Request, ack_bytes
from blockstep.transport.channel import Channel
from blockstep.transport.tls import server_context
from blockstep_server.board import Board, Live
from blockstep_server.clerk import Service
from blockstep_server.config import ServerConfig
from blockstep_server.connection import Connection, serve_stream
from blockstep_server.paths import Root
from blockstep_server.report import Result, TransferRecord
from blockstep_server.telling import Telling
from blockstep_server.upload_policy import UploadPolicy
from support.streams import certificates, short_wait

BLANK = TransferRecord(peer="peer", transport="unix", local="socket")
ACK_1 = frame(ack_bytes(1))


def request(opcode: Opcode, name: str, *options: tuple[str, str]) -> bytes:
    return frame(Request(opcode, name, "octet", options).to_bytes())


def data(block: int, payload: bytes) -> bytes:
    return (len(payload) + 4).to_bytes(4, "big") + b"\0\3" + block.to_bytes(2, "big") + payload


def oack(*options: tuple[str, str]) -> bytes:
    return frame(OptionAck(options).to_bytes())


class Scene:
    """A directory, and what a connection to its server came to. What the client says fits into the socket."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.records: list[TransferRecord] = []
        self.lives: list[Live | None] = []
        self.slot = Board(1).maybe_take()

    def serve(self, *said: bytes, **config: Any) -> bytes:
        """What the client hears."""
        near, far = socket.socketpair()
        with near:
            near.sendall(b"".join(said))
            near.shutdown(socket.SHUT_WR)
            self.take(far, **config)
            return short_wait(near)

    def take(self, sock: socket.socket, *, tls: Any = None, **config: Any) -> None:
        with Root(self.path) as root:
            service = Service(ServerConfig(root=self.path, **config), root)
            serve_stream(Connection(sock, BLANK, tls), service, Telling(self.records.append, self.slot))
        assert sock.fileno() == -1

    @property
    def results(self) -> list[Result]:
        return [record.result for record in self.records]


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    (tmp_path / "file").write_bytes(b"content")
    return Scene(tmp_path)


def test_a_read_and_its_record(scene: Scene) -> None:
    heard = scene.serve(request(Opcode.RRQ, "file", ("tsize", "0"), ("blksize", "4096")), ACK_1)
    assert heard == oack(("tsize", "7"), ("blksize", "4096")) + data(1, b"content")
    (record,) = scene.records
    assert (record.peer, record.transport, record.local) == ("peer", "unix", "socket")
    assert (record.op, record.file, record.mode, record.result) == ("read", "file", "octet", Result.COMPLETE)
    assert record.options == {"tsize": 7, "blksize": 4096}
    assert (record.payload_bytes, record.blocks, record.status) == (7, 1, 0)


def test_requests_follow_each_other_and_each_has_its_record(scene: Scene) -> None:
    heard = scene.serve(
        request(Opcode.RRQ, "none"),
        request(Opcode.RRQ, "file"),
        ACK_1,
        request(Opcode.WRQ, "new", ("tsize", "3")),
        data(1, b"new"),
        uploads=UploadPolicy.CREATE,
    )
    assert heard.endswith(data(1, b"content") + oack(("tsize", "3")) + ACK_1)
    assert [(record.op, record.file, record.result) for record in scene.records] == [
        ("read", "none", Result.REFUSED),
        ("read", "file", Result.COMPLETE),
        ("write", "new", Result.COMPLETE),
    ]
    assert scene.records[2].options == {"tsize": 3}
    assert (scene.path / "new").read_bytes() == b"new"


def test_policies_and_limits_are_those_of_datagrams(scene: Scene) -> None:
    code = [
        scene.serve(request(Opcode.WRQ, "new")),
        scene.serve(request(Opcode.WRQ, "file"), uploads=UploadPolicy.CREATE),
        scene.serve(request(Opcode.WRQ, "new", ("tsize", "11")), uploads=UploadPolicy.CREATE, max_upload_bytes=10),
        scene.serve(request(Opcode.RRQ, "../file")),
    ]
    assert [int.from_bytes(heard[6:8], "big") for heard in code] == [2, 6, 3, 2]
    assert scene.results == [Result.REFUSED] * 4
    refused = scene.serve(request(Opcode.RRQ, "file", ("tsize", "0"), ("blksize", "8")), ACK_1, refuse={"blksize"})
    assert refused == oack(("tsize", "7")) + data(1, b"content")
    limited = scene.serve(request(Opcode.RRQ, "file", ("blksize", "65536")), ACK_1, blksize_max=4096)
    assert limited == oack(("blksize", "4096")) + data(1, b"content")


@pytest.mark.parametrize(
    ("said", "detail"),
    [
        (b"\0\0\0\0", "a frame has 4 to 1048580 octets"),
        (b"\x80\0\0\0", "a frame has 4 to 1048580 octets"),
        (data(1, b"x"), "DATA where a request is due"),
        (frame(ack_bytes(0)), "not a request"),
        (frame(b"\0\1file"), "without its final NUL"),
    ],
)
def test_what_is_no_request_is_one_error_and_one_line(scene: Scene, said: bytes, detail: str) -> None:
    heard = scene.serve(said)
    assert heard[4:8] == b"\0\5\0\4"
    (record,) = scene.records
    assert (record.result, record.code, record.op) == (Result.REFUSED, 4, "")
    assert detail in record.detail


def test_who_comes_and_goes_leaves_no_line(scene: Scene) -> None:
    assert scene.serve() == b""
    assert scene.records == []


def test_who_breaks_off_a_request_leaves_one(scene: Scene) -> None:
    scene.serve(request(Opcode.RRQ, "file")[:-3])
    assert scene.results == [Result.FAILED]
    assert "closed" in scene.records[0].detail


def test_who_sends_no_request_in_time_is_dropped(scene: Scene) -> None:
    near, far = socket.socketpair()
    with near:
        near.sendall(b"\0\0\0\x10\0\1")
        scene.take(far, request_timeout_s=0.05)
        assert short_wait(near) == frame(ErrorPacket(0, "no request came within 0.05 s").to_bytes())
    assert scene.results == [Result.FAILED]


def test_declining_the_options_is_a_probe(scene: Scene) -> None:
    scene.serve(request(Opcode.RRQ, "file", ("tsize", "0")), frame(ErrorPacket(8, "only asking").to_bytes()))
    assert scene.results == [Result.PROBE]
    scene.serve(request(Opcode.RRQ, "file", ("tsize", "0")), frame(ErrorPacket(3, "disk full").to_bytes()))
    assert scene.results[1:] == [Result.FAILED]


def test_one_off_serves_one_request(scene: Scene) -> None:
    heard = scene.serve(request(Opcode.RRQ, "file"), request(Opcode.RRQ, "file"), ACK_1, ACK_1, one_off=True)
    assert heard.count(b"content") == 1
    assert scene.results == [Result.COMPLETE]


def test_what_is_under_way_stands_on_the_board(scene: Scene) -> None:
    near, far = socket.socketpair()
    with near:
        thread = threading.Thread(target=scene.take, args=(far,))
        thread.start()
        near.sendall(request(Opcode.RRQ, "file"))
        near.settimeout(10)
        assert near.recv(1000) == data(1, b"content")
        assert scene.slot is not None
        live = scene.slot.maybe_live()
        assert live is not None
        assert (live.facts["op"], live.facts["file"]) == ("read", "file")
        near.sendall(ACK_1)
        near.shutdown(socket.SHUT_WR)
        thread.join()
        assert scene.slot.idle


@pytest.mark.parametrize("said", [b"", request(Opcode.RRQ, "file")[:-1]], ids=["silent", "half a request"])
def test_a_stop_between_requests_is_told_to_the_peer_and_not_to_the_log(
    scene: Scene, said: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(_channel: Channel, _space: memoryview) -> int:
        raise TransferFailed(End.STOPPED, "the server is stopping")

    near, far = socket.socketpair()
    with near:
        near.sendall(said)
        with monkeypatch.context() as patch:  # as the handler of SIGTERM does wherever a child is
            patch.setattr(Channel, "receive", stopped)
            scene.take(far)
        assert short_wait(near) == frame(ErrorPacket(0, "the server is stopping").to_bytes())
    assert scene.records == []


def test_who_does_not_speak_tls_where_it_is_due_is_one_line(scene: Scene) -> None:
    made = certificates()
    near, far = socket.socketpair()
    with near:
        near.sendall(request(Opcode.RRQ, "file") * 10)
        scene.take(far, tls=server_context(made.certificate("server"), made.key("server")))
    assert scene.results == [Result.FAILED]
    assert "TLS handshake failed" in scene.records[0].detail
    assert scene.records[0].op == ""
