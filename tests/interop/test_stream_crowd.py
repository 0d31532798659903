"""Many connections at once, and some that mean no good, at the real server."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from blockstep.protocol.framing import frame
from blockstep.protocol.wire import Opcode, Request
from support.ownership import hand_over
from support.transports import Raw, TransportServer, transport_server

HONEST = 150
SLOW_LORIS = 50
CONTENT = bytes(range(256)) * 400
READ = Request(Opcode.RRQ, "file", "octet", ()).to_bytes()
WRITE = Request(Opcode.WRQ, "file", "octet", (("blksize", "16"),)).to_bytes()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    root.mkdir()
    (root / "file").write_bytes(CONTENT)
    hand_over(root)
    return root


def fetch(client: Raw) -> bytes:
    """The file, over a stream without options."""
    client.say(READ)
    found = bytearray()
    while True:
        packet = client.hear()
        assert packet[:2] == b"\0\3", packet[:40]
        found += packet[4:]
        if len(packet) < 516:
            client.say(b"\0\4" + packet[2:4])
            return bytes(found)


def fetch_in_datagrams(client: Raw) -> bytes:
    """The same in lock-step."""
    client.say(READ)
    found = bytearray()
    while True:
        packet = client.hear()
        assert packet[:2] == b"\0\3", packet[:40]
        client.say(b"\0\4" + packet[2:4])
        if int.from_bytes(packet[2:4], "big") == len(found) // 512 + 1:
            found += packet[4:]
            if len(packet) < 516:
                return bytes(found)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["tcp", "unix"])
def test_the_honest_are_served_and_the_slow_are_dropped(root: Path, kind: str) -> None:
    with transport_server(kind, root, "--request-timeout", "3") as server:
        lorises = [server.raw() for _ in range(SLOW_LORIS)]
        for number, loris in enumerate(lorises):
            loris.sock.sendall(frame(READ)[: 1 + number % 16])  # the first octets of a request, and never the rest
        fetched: list[bool] = []

        def be_honest() -> None:
            with server.raw() as client:
                fetched.append(fetch(client) == CONTENT)

        threads = [threading.Thread(target=be_honest) for _ in range(HONEST)]
        for thread in threads:
            thread.start()
        with server.raw("udp") as meanwhile:
            assert fetch_in_datagrams(meanwhile) == CONTENT
        for thread in threads:
            thread.join()
        assert fetched == [True] * HONEST
        for loris in lorises:
            with loris:
                assert b"no request came within 3 s" in loris.hear()
                assert loris.hear() == b""
        records = server.await_transfers(HONEST + SLOW_LORIS + 1)
        ends = [(record["transport"], record["result"]) for record in records]
        assert ends.count((kind, "complete")) == HONEST
        assert ends.count((kind, "failed")) == SLOW_LORIS
        assert ends.count(("udp", "complete")) == 1


@pytest.fixture(scope="module", params=["tcp", "unix", "tls"])
def writable(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TransportServer]:
    root = tmp_path_factory.mktemp("root")
    (root / "file").write_bytes(CONTENT)
    hand_over(root)
    with transport_server(request.param, root, "--upload", "replace") as server:
        yield server
        assert [path.name for path in root.iterdir()] == ["file"]
        assert (root / "file").read_bytes() == CONTENT


def data(block: int, payload: bytes) -> bytes:
    return (len(payload) + 4).to_bytes(4, "big") + b"\0\3" + block.to_bytes(2, "big") + payload


LIES = {
    "length 0": b"\0\0\0\0",
    "length 3": b"\0\0\0\3\0\1\0",
    "length 2^31": b"\x80\0\0\0",
    "HTTP": b"GET / HTTP/1.1\r\n\r\n",
    "DATA before a request": data(1, b"x"),
    "ACK before a request": frame(b"\0\4\0\0"),
    "unknown opcode": frame(b"\0\7\0\0"),
    "block 2 first": frame(WRITE) + data(2, bytes(16)),
    "a block too large": frame(WRITE) + data(1, bytes(17)),
    "two last blocks": frame(WRITE) + data(1, b"x") + data(2, b""),
    "length 0 among DATA": frame(WRITE) + data(1, bytes(16)) + b"\0\0\0\0",
}


@pytest.mark.parametrize("lie", LIES)
def test_who_lies_is_told_once_and_has_one_line(writable: TransportServer, lie: str) -> None:
    with writable.raw() as client:
        client.sock.sendall(LIES[lie])
        heard = [client.hear()]
        while heard[-1]:
            heard.append(client.hear())
    assert [packet[:4] for packet in heard if packet[:2] == b"\0\5"] == [b"\0\5\0\4"]
    record = writable.await_event("transfer")
    assert (record["result"], record["code"]) in [("refused", 4), ("failed", 4)]
    assert record["detail"]


def test_half_a_frame_is_one_line_too(writable: TransportServer) -> None:
    with writable.raw() as client:
        client.sock.sendall(frame(WRITE)[:-2])
    record = writable.await_event("transfer")
    assert (record["result"], record["op"]) == ("failed", "")
    assert "closed" in record["detail"]


def test_the_limits_count_every_transport_together(root: Path) -> None:
    with transport_server("tcp", root, "--max-per-client", "2") as server:
        held = [server.raw(), server.raw()]
        for client in held:
            client.say(Request(Opcode.RRQ, "file", "octet", (("tsize", "0"),)).to_bytes())
            assert client.hear()[:2] == b"\0\6"
        with server.raw() as third:
            assert b"the server is busy" in third.hear()
        assert "1 over --max-per-client" in server.await_event("note")["message"]
        with server.raw("udp") as fourth:
            fourth.say(READ)
            assert "1 over --max-per-client" in server.await_event("note")["message"]
            for client in held:
                client.sock.shutdown(socket.SHUT_RDWR)
                client.sock.close()
            server.await_transfers(2)
            server.await_idle()  # a place is free again when its child has been waited for
            assert fetch_in_datagrams(fourth) == CONTENT
