"""What a forged request makes the real server send, counted at the socket of the victim.

The victims here are sockets that asked and never say another word. Nothing is waited for in vain: a transfer that is
over has its line in the log, and who is to get nothing got nothing when a request that came later has been served.
"""

from __future__ import annotations

import socket
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from blockstep.protocol.wire import Data, ErrorPacket, OptionAck, Packet, parse_untrusted
from support.processes import RunningServer, own_loopback_host, running_server

MOST_DATAGRAMS = 3
MOST_BYTES = 1548
ERROR_LARGEST = 64
PATIENCE_S = 30.0
QUICK = ("--timeout", "0.05", "--retries", "40")


def request(opcode: int, name: str, *options: tuple[str, int]) -> bytes:
    fields = [name, "octet", *(str(part) for option in options for part in option)]
    return bytes([0, opcode]) + b"".join(field.encode() + b"\0" for field in fields)


OACK_LARGEST = 100
LARGE = (("blksize", 65464), ("windowsize", 64), ("timeout", 1))
EVERY = (*LARGE, ("blksize2", 32768), ("utimeout", 999999), ("rollover", 0), ("tsize", 0))
REQUESTS = {
    "read": request(1, "large"),
    "read an empty file": request(1, "empty"),
    "read with options": request(1, "large", ("tsize", 0), *LARGE),
    "read with options of every kind": request(1, "large", *EVERY),
    "read with tsize": request(1, "large", ("tsize", 0)),
    "read with unknown options": request(1, "large", ("multicast", 1)),
    "read in netascii": request(1, "large").replace(b"octet", b"netascii"),
    "write": request(2, "new"),
    "write with options": request(2, "newer", ("tsize", 5000), *LARGE),
}
REFUSED = {
    "no such file": request(1, "missing"),
    "a long name": request(1, "x" * 400),
    "out of the root": request(1, "../../etc/passwd"),
    "a directory": request(1, "folder"),
    "a file that is there": request(2, "large"),
    "a bad option": request(1, "large", ("blksize", 1)),
    "mail": b"\0\2someone\0mail\0",
    "an unknown mode": b"\0\1large\0" + b"m" * 300 + b"\0",
    "no mode": b"\0\1large\0",
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    (root / "folder").mkdir(parents=True)
    (root / "large").write_bytes(b"x" * 1_000_000)
    (root / "empty").touch()
    (root / "small").write_bytes(b"y" * 100)
    return root


class Victim:
    """An address that has asked for something, or is said to have."""

    def __init__(self, host: str) -> None:
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.bind((host, 0))
        self.sock.setblocking(False)

    def ask(self, words: bytes, server: RunningServer) -> None:
        self.sock.sendto(words, server.address)

    def received(self) -> list[bytes]:
        """All that has come so far."""
        found = []
        while True:
            try:
                found.append(self.sock.recv(70000))
            except BlockingIOError:
                return found

    def await_answer(self) -> bytes:
        self.sock.settimeout(PATIENCE_S)
        try:
            return self.sock.recv(70000)
        finally:
            self.sock.setblocking(False)


def victims(stack: ExitStack, hosts: list[str]) -> list[Victim]:
    found = [Victim(host) for host in hosts]
    for each in found:
        stack.callback(each.sock.close)
    return found


def fetch_small(server: RunningServer, host: str) -> float:
    """A good client's transfer of one block; the seconds it took."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.bind((host, 0))
        client.settimeout(PATIENCE_S)
        started_s = time.monotonic()
        client.sendto(request(1, "small"), server.address)
        packet, address = client.recvfrom(1000)
        client.sendto(b"\0\4\0\1", address)
        assert packet == b"\0\3\0\1" + b"y" * 100
    server.await_record("small")
    return time.monotonic() - started_s


def silent(root: Path, requests: dict[str, bytes], *options: str) -> dict[str, list[Packet]]:
    """What each request makes the server send to somebody who never answers, until it has given up."""
    with ExitStack() as stack:
        server = stack.enter_context(running_server(root, "--upload", "create", *QUICK, *options))
        asked = dict(zip(requests, victims(stack, ["127.0.0.1"] * len(requests)), strict=True))
        for name, victim in asked.items():
            victim.ask(requests[name], server)
        server.await_transfers(len(requests))
        found = {name: victim.received() for name, victim in asked.items()}
    for datagrams in found.values():
        assert sum(map(len, datagrams)) <= MOST_BYTES
    return {name: [parse_untrusted(each) for each in datagrams] for name, datagrams in found.items()}


@pytest.mark.slow
@pytest.mark.parametrize("port", ["--no-single-port", "--single-port"])
def test_at_most_three_datagrams_and_1548_bytes_for_a_request(root: Path, port: str) -> None:
    found = silent(root, REQUESTS, port)
    assert max(map(len, found.values())) == len(found["read"]) == MOST_DATAGRAMS
    for name, packets in found.items():
        assert all(packet == packets[0] for packet in packets), "the same thing again, and nothing after it"
        assert isinstance(packets[0], OptionAck) is ("with options" in name or "with tsize" in name)
        if isinstance(packets[0], OptionAck):
            assert len(packets[0].to_bytes()) <= OACK_LARGEST


@pytest.mark.slow
@pytest.mark.parametrize("port", ["--no-single-port", "--single-port"])
def test_with_a_strict_source_one_for_one(root: Path, port: str) -> None:
    found = silent(root, REQUESTS, "--strict-source", port)
    assert {name: len(packets) for name, packets in found.items()} == dict.fromkeys(REQUESTS, 1)


def test_a_strict_source_that_answers_is_served_as_ever(root: Path) -> None:
    with running_server(root, "--strict-source") as server:
        fetch_small(server, "127.0.0.1")


def test_a_refusal_is_one_error_of_64_bytes_at_most(root: Path) -> None:
    with ExitStack() as stack:
        server = stack.enter_context(running_server(root, "--upload", "create"))
        asked = victims(stack, ["127.0.0.1"] * len(REFUSED))
        for victim, words in zip(asked, REFUSED.values(), strict=True):
            victim.ask(words, server)
        server.await_transfers(len(REFUSED))
        for victim, name in zip(asked, REFUSED, strict=True):
            (datagram,) = victim.received()
            assert isinstance(parse_untrusted(datagram), ErrorPacket), name
            assert len(datagram) <= ERROR_LARGEST, name
            assert str(root).encode() not in datagram


def test_what_is_no_request_gets_no_word(root: Path) -> None:
    """An ERROR in answer to an ERROR is how two servers talk for ever."""
    words = [
        ErrorPacket(0, "what?").to_bytes(),
        b"\0\4\0\0",
        Data(1, memoryview(b"x" * 512)).to_bytes(),
        b"\0\6blksize\x001428\0",
        b"",
        b"\0",
        b"\0\7",
        b"x" * 100,
    ]
    with ExitStack() as stack:
        server = stack.enter_context(running_server(root))
        asked = victims(stack, ["127.0.0.1"] * len(words))
        for victim, each in zip(asked, words, strict=True):
            victim.ask(each, server)
        fetch_small(server, "127.0.0.1")
        assert [victim.received() for victim in asked] == [[]] * len(words)
        assert len(server.records) == 1


def test_half_open_transfers_of_one_source_are_capped_and_others_go_on(root: Path) -> None:
    with ExitStack() as stack:
        server = stack.enter_context(running_server(root, "--max-half-open", "3"))
        asked = victims(stack, ["127.0.0.1"] * 10)
        for victim in asked:
            victim.ask(REQUESTS["read"], server)
        fetch_small(server, "127.0.0.9")
        for victim in asked[:3]:
            victim.await_answer()
        assert [victim.received() for victim in asked[3:]] == [[]] * 7
        assert len(server.children()) == 3
        for victim in asked[:3]:
            victim.sock.close()  # ICMP tells the server at its next word


@pytest.mark.slow
def test_a_good_client_among_400_half_open_transfers_is_served_within_a_second(root: Path) -> None:
    with ExitStack() as stack:
        server = stack.enter_context(running_server(root))
        asked = victims(stack, [f"127.3.{number // 200}.{number % 200 + 1}" for number in range(400)])
        for victim in asked:
            victim.ask(REQUESTS["read with options"], server)
        for victim in asked:
            victim.await_answer()
        assert len(server.children()) >= 300, "those who were first may have ended"
        assert fetch_small(server, own_loopback_host()) < 1.0
        for victim in asked:
            victim.sock.close()


@pytest.mark.slow
def test_errors_come_from_a_bucket(root: Path) -> None:
    """One source asks 600 times for what is not there. It gets what its bucket holds and what came in meanwhile."""
    with ExitStack() as stack:
        server = stack.enter_context(running_server(root))
        asked = victims(stack, ["127.0.0.1"] * 6)  # a socket holds 256 datagrams
        started_s = time.monotonic()
        for number in range(600):
            asked[number % 6].ask(request(1, f"missing-{number}"), server)
        fetch_small(server, "127.0.0.9")
        server.await_idle()
        took_s = time.monotonic() - started_s
        errors = sum(len(victim.received()) for victim in asked)
        assert 256 <= errors <= 256 + 32 * took_s

        def told() -> int:
            return len([record for record in server.records if record["result"] == "refused"])

        while told() < errors:
            server.await_event("transfer")  # those who are gone may still wait for their line in the log
        assert errors == told()
