"""A client that asks for one file after the other from one and the same port, as tftp-hpa's does for a whole session.

Its next request may be faster than the end of the child before it, or find that child still waiting in case the last
ACK was lost. None of them may be taken for a repetition of the one before: the client would wait for its timer, seconds
for each file. The clients here have no timer at all, so a request that is lost fails the test.
"""

from __future__ import annotations

import resource
import socket
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from blockstep.protocol.wire import Opcode, Request, ack_bytes
from blockstep_server.report import Result
from support.foreign_clients import HPA
from support.processes import RunningServer, running_server

PATIENCE_S = 30.0
Options = tuple[tuple[str, str], ...]
ERROR, OACK = b"\0\5", b"\0\6"
SMALL, TWO_BLOCKS = b"small", bytes(1024) + b"end"
LOCK_STEP, WINDOWED = (("blksize", "1024"),), (("blksize", "1024"), ("windowsize", "4"))


@pytest.fixture(params=["--no-single-port", "--single-port"], ids=["fresh port", "single port"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RunningServer]:
    root = tmp_path / "root"
    root.mkdir()
    (root / "small").write_bytes(SMALL)
    (root / "two").write_bytes(TWO_BLOCKS)
    with running_server(root, "-b", "127.0.0.1:0", "--upload", "replace", request.param) as server:
        yield server


@pytest.fixture
def client() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.bind(("127.0.0.1", 0))
        client.settimeout(PATIENCE_S)
        yield client


def hear(client: socket.socket, *wanted: bytes) -> tuple[bytes, tuple[str, int]]:
    """The next packet that begins so. What a server that would not wait has sent again is passed over."""
    while True:
        packet, source = client.recvfrom(65536)
        if packet.startswith(wanted):
            return packet, source


def read(client: socket.socket, server: RunningServer, name: str, options: Options = LOCK_STEP) -> bytes:
    """Fetch a file; what it holds, or the ERROR packet. With options the answer cannot be a packet of another file."""
    client.sendto(Request(Opcode.RRQ, name, "octet", options).to_bytes(), server.address)
    packet, source = hear(client, OACK, ERROR)
    if packet.startswith(ERROR):
        return packet
    content, acknowledged = b"", 0
    while True:
        client.sendto(ack_bytes(acknowledged), source)
        if acknowledged and len(packet) < 1028:
            return content
        acknowledged += 1
        packet, _ = hear(client, b"\0\3" + acknowledged.to_bytes(2, "big"))
        content += packet[4:]


def write(client: socket.socket, server: RunningServer, name: str, content: bytes) -> None:
    """Send a file of one block."""
    client.sendto(Request(Opcode.WRQ, name, "octet", LOCK_STEP).to_bytes(), server.address)
    _, source = hear(client, OACK)
    client.sendto(b"\0\3\0\1" + content, source)
    hear(client, ack_bytes(1))


@pytest.mark.parametrize("options", [LOCK_STEP, WINDOWED], ids=["lock-step", "windowed"])
def test_the_same_file_again_and_again(server: RunningServer, client: socket.socket, options: Options) -> None:
    for _ in range(20):
        assert read(client, server, "small", options) == SMALL
        assert read(client, server, "two", options) == TWO_BLOCKS
        assert read(client, server, "two", options) == TWO_BLOCKS
    assert {record["result"] for record in server.await_transfers(60)} == {Result.COMPLETE}


def test_the_next_request_does_not_wait_for_who_stays_after_an_upload(
    server: RunningServer, client: socket.socket
) -> None:
    for number in range(10):
        write(client, server, "new", b"%d" % number)
        write(client, server, "new", b"%d again" % number)
        assert read(client, server, "new") == b"%d again" % number
    results = Counter((record["op"], record["result"]) for record in server.await_transfers(30))
    assert results == {("write", Result.COMPLETE): 20, ("read", Result.COMPLETE): 10}


def test_after_a_refusal(server: RunningServer, client: socket.socket) -> None:
    for _ in range(10):
        assert read(client, server, "missing")[:4] == b"\0\5\0\1"
        assert read(client, server, "missing")[:4] == b"\0\5\0\1"
        assert read(client, server, "small") == SMALL


def test_after_a_transfer_that_was_broken_off(server: RunningServer, client: socket.socket) -> None:
    """As who probes for the size does, and then asks in the same words or in others."""
    for name in ("two", "small"):
        client.sendto(Request(Opcode.RRQ, "two", "octet", LOCK_STEP).to_bytes(), server.address)
        _, source = hear(client, OACK)
        client.sendto(ERROR + b"\0\0enough\0", source)
        assert read(client, server, name) == {"small": SMALL, "two": TWO_BLOCKS}[name]


def test_after_a_last_ack_that_was_lost(server: RunningServer, client: socket.socket) -> None:
    """On a shared port the last block once more would look like the first of the next file."""
    client.sendto(Request(Opcode.RRQ, "small", "octet").to_bytes(), server.address)
    hear(client, b"\0\3\0\1" + SMALL)
    client.sendto(Request(Opcode.RRQ, "two", "octet", LOCK_STEP).to_bytes(), server.address)
    _, source = hear(client, OACK)
    client.sendto(ack_bytes(0), source)
    packet, _ = hear(client, b"\0\3\0\1\0")
    assert len(packet) == 1028
    client.sendto(ERROR + b"\0\0enough\0", source)


def test_one_at_a_time_is_one_after_the_other(tmp_path: Path, client: socket.socket) -> None:
    """Who has its share, of a transfer that is about to end, has not asked in vain."""
    (tmp_path / "small").write_bytes(SMALL)
    (tmp_path / "other").write_bytes(SMALL)
    options = ("-b", "127.0.0.1:0", "--upload", "replace", "--max-per-client", "1", "--max-sessions", "3")
    with running_server(tmp_path, *options) as server:
        for number in range(10):
            assert read(client, server, "small") == SMALL
            assert read(client, server, "other") == SMALL
            if number % 5 == 0:  # at most as many may stay as may be busy
                write(client, server, "new", b"one")
                assert read(client, server, "new") == b"one"
                server.await_idle()


def test_a_capture_has_each_request_once(tmp_path: Path, client: socket.socket) -> None:
    (tmp_path / "root").mkdir()
    capture = tmp_path / "capture.pcapng"
    options = ("-b", "127.0.0.1:0", "--upload", "replace", "--single-port", "--pcap", str(capture))
    with running_server(tmp_path / "root", *options) as server:
        for number in range(5):
            write(client, server, "new", b"%d" % number)
    assert capture.read_bytes().count(Request(Opcode.WRQ, "new", "octet", LOCK_STEP).to_bytes()) == 5


@pytest.mark.peers("tftp")
def test_a_session_of_tftp_hpa(server: RunningServer, tmp_path: Path) -> None:
    lines = ["get small", "get small", "put small new", "get new", "put small new", "put small new", "get two"]
    HPA.session(server.peer(), [line for _ in range(10) for line in lines], tmp_path)
    assert (tmp_path / "new").read_bytes() == SMALL
    assert (tmp_path / "two").read_bytes() == TWO_BLOCKS
    records = server.await_transfers(70)
    assert {record["result"] for record in records} == {Result.COMPLETE}
    assert len({record["peer"] for record in records}) == 1, "one port for all of them"


def test_more_transfers_than_the_usual_limit_of_descriptors_may_share_a_port(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    try:
        with running_server(tmp_path, "-b", "127.0.0.1:0", "--single-port", "--max-sessions", "500") as server:
            limits = Path(f"/proc/{server.pid}/limits").read_text()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert next(line for line in limits.splitlines() if line.startswith("Max open files")).split()[3] == "564"
