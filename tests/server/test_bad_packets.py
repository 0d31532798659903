"""Each line of the table of bad packets in the middle of a transfer of a real server, with an honest client beside it.

The honest client is served while the odd transfer is under way or just over. Silence is never waited for: what has not
been said when the log has both transfers and no child lives, is not said.
"""

from __future__ import annotations

import random
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from select import select
from typing import Any

import pytest

from blockstep.protocol.errors import ErrorCode
from blockstep.protocol.states import Role
from blockstep.protocol.wire import Ack, ErrorPacket, parse_untrusted
from support.bad_packets import (
    AFTER_THE_END,
    BLKSIZE,
    MIDDLE,
    STRANGERS_SAY,
    WINDOWED,
    Bad,
    Peer,
    Said,
    Verdict,
    ack,
    blocks_of,
    data,
    error,
)
from support.processes import RunningServer, own_loopback_host, running_server

PATIENCE_S = 30.0
WINDOW = 4
CONTENT = b"a" * BLKSIZE + b"b" * BLKSIZE + b"c" * 100
LONG = random.Random(7).randbytes(11 * BLKSIZE + 7)
FILES = {"good": CONTENT, "long": LONG}
SERVER_ROLES = [Role.SERVE_READ, Role.SERVE_WRITE]
PORTS = {"fresh port": "--no-single-port", "single port": "--single-port"}
STRANGERS_ARE_ANSWERED = 64
ELSEWHERE = "127.0.0.9"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("root")
    for name, content in FILES.items():
        (root / name).write_bytes(content)
    return root


@pytest.fixture(scope="module", params=list(PORTS.values()), ids=list(PORTS))
def server(request: pytest.FixtureRequest, root: Path) -> Iterator[RunningServer]:
    with running_server(root, "-b", f"{own_loopback_host()}:0", "--upload", "create", request.param) as server:
        yield server


@pytest.fixture(autouse=True)
def _no_upload_left(root: Path) -> Iterator[None]:
    yield
    (root / "new").unlink(missing_ok=True)


class Client(Peer):
    """An honest peer that has a socket of its own."""

    def __init__(self, server: RunningServer, host: str) -> None:
        super().__init__(socket.socket(socket.AF_INET, socket.SOCK_DGRAM), server.address)
        self.sock.settimeout(PATIENCE_S)
        self.sock.bind((host, 0))
        self.name = "{}:{}".format(*self.sock.getsockname())

    def begin(self, role: Role, name: str, *options: str) -> None:
        """Ask, and hear the OACK or, for a write, ACK 0."""
        opcode = b"\0\1" if role is Role.SERVE_READ else b"\0\2"
        self.say(opcode + b"".join(field.encode() + b"\0" for field in (name, "octet", *options)))
        if options:
            assert self.hear_oack() == dict(zip(options[::2], options[1::2], strict=True))
            if role is Role.SERVE_READ:
                self.say(ack(0))
        elif role is Role.SERVE_WRITE:
            assert self.hear() == Ack(0)

    def move(self, role: Role, content: bytes, first: int, last: int | None = None, *, window: int = 1) -> None:
        """Some blocks of `content` or all."""
        if role is Role.SERVE_WRITE:
            self.send_blocks(blocks_of(content), first, last, window=window)
            if last is None:
                self.say(error(0, b"that was all\0"))  # it need not stay for us
        else:
            expected = content[(first - 1) * BLKSIZE : None if last is None else last * BLKSIZE]
            assert self.receive_blocks(first, last, window=window) == expected

    def say_until_answered(self, packet: bytes, answer: bytes) -> None:
        """Again and again, as who missed an ACK does. (What comes sooner than a round trip is rightly not answered.)"""
        for _ in range(100):
            self.say(packet)
            if select([self.sock], [], [], 0.1)[0]:
                break
        assert self.sock.recv(70_000) == answer

    def waiting(self) -> list[bytes]:
        """What has come and nobody has heard."""
        self.sock.setblocking(False)
        found = []
        while True:
            try:
                found.append(self.sock.recv(70_000))
            except BlockingIOError:
                return found


@contextmanager
def client(server: RunningServer, host: str | None = None) -> Iterator[Client]:
    client = Client(server, host or own_loopback_host())
    with client.sock:
        yield client


def records_of(server: RunningServer, *clients: Client) -> list[dict[str, Any]]:
    """What the log says of these clients; nobody else had a transfer, and nobody is left."""
    records = {record["peer"]: record for record in server.await_transfers(len(clients))}
    assert server.children() == []
    return [records[client.name] for client in clients]


def serve_an_honest_client(honest: Client) -> None:
    honest.begin(Role.SERVE_READ, "good")
    honest.move(Role.SERVE_READ, CONTENT, 1)


def judge(odd: Client, record: dict[str, Any], verdict: Verdict) -> None:
    """The log says what happened, and nothing more was sent than that."""
    if verdict is None:
        assert (record["result"], record["code"]) == ("complete", None), record
        return
    assert (record["result"], record["code"]) == ("failed", verdict.code if isinstance(verdict, Said) else verdict)
    assert record["detail"].isprintable()
    assert len(record["detail"]) <= 200
    said = [parse_untrusted(datagram) for datagram in odd.waiting()]
    assert [packet for packet in said if isinstance(packet, ErrorPacket)] == []


def check(server: RunningServer, root: Path, bad: Bad, role: Role, *, window: int = 1) -> None:
    """Say it after the first window; the verdict, the honest client and the files are as they should be."""
    verdict, content = bad.verdicts[role], CONTENT if window == 1 else LONG
    name = "new" if role is Role.SERVE_WRITE else {CONTENT: "good", LONG: "long"}[content]
    with client(server) as odd, client(server) as honest:
        odd.begin(role, name, *(() if window == 1 else ("windowsize", str(window))))
        odd.move(role, content, 1, window, window=window)
        odd.say(*bad.packets)
        serve_an_honest_client(honest)
        if verdict is None:
            odd.move(role, content, window + 1, window=window)
        elif isinstance(verdict, ErrorCode):
            assert odd.hear_error() == verdict
        odd_record, honest_record = records_of(server, odd, honest)
        judge(odd, odd_record, verdict)
        judge(honest, honest_record, None)
    written = root / "new"
    assert written.exists() == (role is Role.SERVE_WRITE and verdict is None)
    if written.exists():
        assert written.read_bytes() == content
    assert {path.name: path.read_bytes() for path in root.iterdir() if path != written} == FILES


@pytest.mark.parametrize("bad", MIDDLE.values(), ids=MIDDLE)
@pytest.mark.parametrize("role", SERVER_ROLES, ids=["reader", "writer"])
def test_bad_packets_in_the_middle_of_a_transfer(server: RunningServer, root: Path, role: Role, bad: Bad) -> None:
    check(server, root, bad, role)


@pytest.mark.parametrize("bad", WINDOWED.values(), ids=WINDOWED)
@pytest.mark.parametrize("role", SERVER_ROLES, ids=["reader", "writer"])
def test_bad_packets_in_the_middle_of_a_transfer_in_windows(
    server: RunningServer, root: Path, role: Role, bad: Bad
) -> None:
    check(server, root, bad, role, window=WINDOW)


@pytest.mark.parametrize("role", SERVER_ROLES, ids=["reader", "writer"])
def test_strangers_do_not_hurt_a_transfer(server: RunningServer, root: Path, role: Role) -> None:
    """From another port and from another address. Where the transfer has a port of its own they get ERROR 5, but never
    for an ERROR and 64 times at most; on a shared port nobody hears them.
    """
    with client(server) as odd, client(server) as near, client(server, ELSEWHERE) as far:
        odd.begin(role, "new" if role is Role.SERVE_WRITE else "good")
        odd.move(role, CONTENT, 1, 1)
        shares = odd.address == server.address
        for stranger in (near, far):
            stranger.address = odd.address
            stranger.say(STRANGERS_SAY[0])
            assert shares or stranger.hear_error() == ErrorCode.UNKNOWN_TID
        near.say(*STRANGERS_SAY)
        far.say(*STRANGERS_SAY)
        odd.move(role, CONTENT, 2)
        (record,) = records_of(server, odd)
        judge(odd, record, None)
        answers = [answer for stranger in (near, far) for answer in stranger.waiting()]
    assert {answer[:4] for answer in answers} <= (set() if shares else {b"\0\5\0\5"})
    assert len(answers) < STRANGERS_ARE_ANSWERED


def test_a_request_to_the_port_of_a_transfer_is_not_served_there(server: RunningServer) -> None:
    """Somebody else's. On a shared port that is the listener's, and it serves him as it does everybody."""
    with client(server) as busy, client(server) as stranger:
        busy.begin(Role.SERVE_READ, "good")
        busy.move(Role.SERVE_READ, CONTENT, 1, 1)
        shares, stranger.address = busy.address == server.address, busy.address
        stranger.begin(Role.SERVE_READ, "good")
        if shares:
            stranger.move(Role.SERVE_READ, CONTENT, 1)
        else:
            assert stranger.hear_error() == ErrorCode.UNKNOWN_TID
        busy.move(Role.SERVE_READ, CONTENT, 2)
        for record in records_of(server, busy, *([stranger] if shares else [])):
            judge(busy, record, None)


@pytest.mark.parametrize("packets", AFTER_THE_END.values(), ids=AFTER_THE_END)
@pytest.mark.parametrize("role", SERVER_ROLES, ids=["reader", "writer"])
def test_what_is_said_after_the_end_changes_nothing(
    server: RunningServer, root: Path, role: Role, packets: tuple[bytes, ...]
) -> None:
    """The file is whole and stays it; a writer who missed the last ACK gets it again."""
    last = len(blocks_of(CONTENT))
    with client(server) as odd:
        odd.begin(role, "new" if role is Role.SERVE_WRITE else "good")
        if role is Role.SERVE_WRITE:
            odd.send_blocks(blocks_of(CONTENT), 1)
            for _ in range(2):
                odd.say_until_answered(data(last, blocks_of(CONTENT)[-1]), ack(last))
            odd.say(*packets, error(0))
        else:
            odd.move(role, CONTENT, 1)
            odd.say(ack(last), *packets)
        (record,) = records_of(server, odd)
        judge(odd, record, None)
        assert set(odd.waiting()) <= {ack(last)}
    if role is Role.SERVE_WRITE:
        assert (root / "new").read_bytes() == CONTENT


@pytest.mark.parametrize(("announced", "complaint"), [(len(CONTENT) + 1, "only 1124 sent"), (600, "more sent")])
def test_an_upload_of_another_size_than_announced_is_no_upload(
    server: RunningServer, root: Path, announced: int, complaint: str
) -> None:
    """What was cut short would look whole, as every block that is not full is the last one."""
    with client(server) as odd, client(server) as honest:
        odd.begin(Role.SERVE_WRITE, "new", "tsize", str(announced))
        odd.say(*(data(number, block) for number, block in enumerate(blocks_of(CONTENT), 1)))
        assert odd.hear_error() == ErrorCode.UNDEFINED
        serve_an_honest_client(honest)
        odd_record, honest_record = records_of(server, odd, honest)
        judge(odd, odd_record, ErrorCode.UNDEFINED)
        judge(honest, honest_record, None)
    assert complaint in odd_record["detail"]
    assert not (root / "new").exists()
