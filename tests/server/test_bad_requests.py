"""Each bad or odd request of the tables in a real server's ear: the exact answer, once, and an honest client served.

Silence is never waited for: what has not been answered when the honest transfer after it is over, when the log knows of
no other, and when no child lives, is not answered.
"""

from __future__ import annotations

import random
import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path

import pytest

from blockstep.protocol.errors import ErrorCode
from blockstep.protocol.wire import Ack, Data, ErrorPacket, OptionAck, ack_bytes, parse_untrusted
from support.bad_requests import (
    GOOD,
    LAYOUTS,
    MOST_UPLOADED,
    NAMES,
    NO_REQUESTS,
    OPTIONS,
    WRITES,
    Answer,
    Cases,
    a_root,
    rrq,
)
from support.processes import RunningServer, running_server

ERROR_LARGEST = 64
PATIENCE_S = 30.0
PORTS = {"fresh port": "--no-single-port", "single port": "--single-port"}
BOTH_PORTS = list(PORTS.values())


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with a_root(tmp_path_factory.mktemp("base")) as root:
        yield root


@pytest.fixture(scope="module", params=BOTH_PORTS, ids=list(PORTS))
def server(request: pytest.FixtureRequest, root: Path) -> Iterator[RunningServer]:
    with running_server(root, "-b", "127.0.0.1:0", request.param) as server:
        yield server


@pytest.fixture(scope="module", params=BOTH_PORTS, ids=list(PORTS))
def writable(request: pytest.FixtureRequest, root: Path) -> Iterator[RunningServer]:
    before = sorted(root.rglob("*"))
    options = ["--upload", "create", "--max-upload", str(MOST_UPLOADED), request.param]
    with running_server(root, "-b", "127.0.0.1:0", *options) as server:
        yield server
    assert sorted(root.rglob("*")) == before, "an upload that came to nothing has left something"


class Client:
    """A socket that has sent one datagram to a server."""

    def __init__(self, server: RunningServer, datagram: bytes) -> None:
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.settimeout(PATIENCE_S)
        self.sock.bind(("127.0.0.1", 0))
        self.peer = "{}:{}".format(*self.sock.getsockname())
        self.server = server
        self.sock.sendto(datagram, server.address)

    def close(self) -> None:
        self.sock.close()

    def expect(self, answer: Answer) -> tuple[str, int]:
        """The next datagram is this answer; where it came from."""
        datagram: bytes
        source: tuple[str, int]
        datagram, source = self.sock.recvfrom(65536)
        assert read(datagram) == answer
        assert source[0] == self.server.address[0]
        if isinstance(answer, ErrorCode):
            assert len(datagram) <= ERROR_LARGEST
            assert b"/" not in datagram[4:], "the text shows a path"
        return source

    def end(self, answer: Answer, source: tuple[str, int]) -> None:
        """Finish or break off the transfer that began with `answer`, if it began."""
        if answer == GOOD:
            self.sock.sendto(ack_bytes(1), source)
        elif not isinstance(answer, ErrorCode):
            self.sock.sendto(ErrorPacket(0, "never mind").to_bytes(), source)

    def expect_no_more(self, but: Answer = None) -> None:
        """Nothing waits, `but` repeats of this. Means something only when everybody who could answer is gone."""
        self.sock.settimeout(0)
        with suppress(BlockingIOError):
            while True:
                assert read(self.sock.recv(65536)) == but


def read(datagram: bytes) -> Answer:
    """A datagram as the tables write it."""
    packet = parse_untrusted(datagram)
    if isinstance(packet, ErrorPacket):
        return ErrorCode(packet.code)
    if isinstance(packet, OptionAck):
        return dict(packet.options)
    if isinstance(packet, Ack):
        return packet
    assert isinstance(packet, Data)
    assert packet.block == 1
    return bytes(packet.payload)


def check(server: RunningServer, datagram: bytes, answer: Answer) -> None:
    """This answer, once; an honest client afterwards gets its file; nobody is left."""
    with closing(Client(server, datagram)) as odd, closing(Client(server, rrq("good"))) as honest:
        if answer is not None:
            odd.end(answer, odd.expect(answer))
        honest.end(GOOD, honest.expect(GOOD))
        expect_transfers(server, honest, *([] if answer is None else [odd]))
        # who asks for a resend every 10 ms gets it while the machine is busy elsewhere
        odd.expect_no_more(but=answer if isinstance(answer, dict) and "utimeout" in answer else None)
        honest.expect_no_more()


def expect_transfers(server: RunningServer, *clients: Client) -> None:
    """These clients had a transfer each, which is over, and there was no other."""
    assert {record["peer"] for record in server.await_transfers(len(clients))} == {client.peer for client in clients}
    assert server.children() == []


def table(cases: Cases) -> pytest.MarkDecorator:
    """A test for each line."""
    return pytest.mark.parametrize(("datagram", "answer"), cases.values(), ids=[name[:40] for name in cases])


@pytest.mark.parametrize("datagram", NO_REQUESTS.values(), ids=NO_REQUESTS)
def test_what_is_no_request_gets_no_answer(server: RunningServer, datagram: bytes) -> None:
    check(server, datagram, None)


@table(LAYOUTS)
def test_layouts(server: RunningServer, datagram: bytes, answer: Answer) -> None:
    check(server, datagram, answer)


@table(OPTIONS)
def test_options(server: RunningServer, datagram: bytes, answer: Answer) -> None:
    check(server, datagram, answer)


@table(NAMES)
def test_names(server: RunningServer, datagram: bytes, answer: Answer) -> None:
    check(server, datagram, answer)


@table(WRITES)
def test_writing(writable: RunningServer, datagram: bytes, answer: Answer) -> None:
    check(writable, datagram, answer)


@table(WRITES)
def test_writing_to_a_server_that_takes_no_files(server: RunningServer, datagram: bytes, answer: Answer) -> None:
    malformed = answer in (ErrorCode.ILLEGAL_OPERATION, ErrorCode.OPTION_REFUSED)
    check(server, datagram, answer if malformed else ErrorCode.ACCESS_VIOLATION)


@pytest.mark.parametrize("seed", range(3))
def test_200_random_datagrams(server: RunningServer, seed: int) -> None:
    """None of them is a request, as the first two octets are not."""
    chance = random.Random(seed)
    heads = [bytes([high, low]) for high in range(256) for low in range(256) if (high, low) not in ((0, 1), (0, 2))]
    with ExitStack() as cleanup:
        odd = [
            cleanup.enter_context(
                closing(Client(server, chance.choice(heads) + chance.randbytes(chance.randrange(600))))
            )
            for _ in range(200)
        ]
        check(server, b"", None)
        for client in odd:
            client.expect_no_more()


def test_a_request_again_is_the_same_transfer(server: RunningServer) -> None:
    """On a shared port the transfer hears it, on two ports the listener."""
    with closing(Client(server, rrq("good"))) as client:
        source = client.expect(GOOD)
        for _ in range(5):
            client.sock.sendto(rrq("good"), server.address)
        check_beside(server, client)
        client.end(GOOD, source)
        expect_transfers(server, client)
        client.expect_no_more()


def test_strangers_at_the_port_of_a_transfer_are_told_so(server: RunningServer) -> None:
    """On a shared port they talk to the listener, which serves requests and has nothing to say to the rest."""
    shared = server.ready["addresses"]
    with closing(Client(server, rrq("good"))) as client:
        source = client.expect(GOOD)
        shares = f"{source[0]}:{source[1]} (udp)" in shared
        for datagram in (ack_bytes(1), b"\0\3\0\1data", b"", b"\0\7", rrq("good")[:-1]):
            with closing(Client(server, b"")) as stranger:
                stranger.sock.sendto(datagram, source)
                if not shares:
                    stranger.expect(ErrorCode.UNKNOWN_TID)
        client.end(GOOD, source)
        strangers_served = 1 if shares else 0  # the last one asked, if badly
        records = server.await_transfers(1 + strangers_served)
        assert [record["result"] for record in records if record["peer"] == client.peer] == ["complete"]
        client.expect_no_more()


def check_beside(server: RunningServer, busy: Client) -> None:
    """An honest client is served while `busy` has its transfer, and whatever was sent before it has been looked at."""
    with closing(Client(server, rrq("good"))) as honest:
        honest.end(GOOD, honest.expect(GOOD))
        assert server.await_event("transfer")["peer"] == honest.peer
    assert len(server.children()) == 1, busy.peer
