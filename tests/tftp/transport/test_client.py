from __future__ import annotations

import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from blockstep.protocol.errors import End, ErrorCode, TransferFailed
from blockstep.protocol.options import Agreed, Wanted
from blockstep.protocol.receiver import Receiver
from blockstep.protocol.states import Role
from blockstep.protocol.timer import ResendTimer
from blockstep.protocol.wire import ErrorPacket, Opcode, OptionAck, Request, ack_bytes, parse_untrusted
from blockstep.transport.client import Opened, SocketAddress, open_udp
from blockstep.transport.pump import Pump, run_receiver
from support.loopback import MemorySink

WANTED = Wanted(blksize=1428, windowsize=8)
OACK = OptionAck((("blksize", "1024"), ("windowsize", "4"))).to_bytes()
UNKNOWN_TID = ErrorPacket(5, "unknown transfer ID").to_bytes()


def data(index: int, payload: bytes) -> bytes:
    return b"\0\3" + index.to_bytes(2, "big") + payload


def ask(
    server: SocketAddress, opcode: Opcode = Opcode.RRQ, *, timer: ResendTimer | None = None, any_source: bool = False
) -> Opened:
    request = Request(opcode, "name", "octet", WANTED.to_options())
    timer = timer or ResendTimer(first_s=20, ceiling_s=20, give_up_s=60)
    return open_udp(request, WANTED, server, timer=timer, any_source=any_source)


@dataclass
class Stage:
    """A server's well-known port, a second port of it, a stranger on another address, and the client at work."""

    port: socket.socket
    transfer: socket.socket
    stranger: socket.socket
    run: Callable[..., Future[Opened]]

    @property
    def address(self) -> tuple[str, int]:
        host, port = self.port.getsockname()
        return host, port

    def asked_by(self) -> tuple[str, int]:
        """Who sends the next request."""
        packet, (host, port) = self.port.recvfrom(600)
        assert packet[:2] in (b"\0\1", b"\0\2")
        return host, port


@pytest.fixture
def stage() -> Iterator[Stage]:
    opened: list[Future[Opened]] = []

    def run(*arguments: object, **options: object) -> Future[Opened]:
        opened.append(threads.submit(ask, *arguments, **options))  # type: ignore[arg-type]
        return opened[-1]

    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as port,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as transfer,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger,
        ThreadPoolExecutor(max_workers=4) as threads,
    ):
        for sock, host in ((port, "127.0.0.1"), (transfer, "127.0.0.1"), (stranger, "127.0.0.2")):
            sock.bind((host, 0))
            sock.settimeout(10)
        yield Stage(port, transfer, stranger, run)
        for future in opened:
            if not future.exception():
                future.result().endpoint.close()


# Answers.


@pytest.mark.parametrize("opcode", [Opcode.RRQ, Opcode.WRQ])
def test_an_oack_from_a_fresh_port_pins_that_port(stage: Stage, opcode: Opcode) -> None:
    future = stage.run(stage.address, opcode)
    client = stage.asked_by()
    stage.transfer.sendto(OACK, client)
    opened = future.result(10)
    assert opened.opening.agreed == Agreed(blksize=1024, windowsize=4)
    assert (opened.opening.by_oack, opened.first) == (True, b"")
    assert opened.endpoint.sock.getpeername() == stage.transfer.getsockname()
    assert opened.endpoint.sock.getsockname()[1] == client[1]


def test_a_server_on_one_port_is_pinned_too(stage: Stage) -> None:
    future = stage.run(stage.address)
    stage.port.sendto(OACK, stage.asked_by())
    assert future.result(10).endpoint.sock.getpeername() == stage.address


@pytest.mark.parametrize(("opcode", "answer"), [(Opcode.RRQ, data(1, b"content")), (Opcode.WRQ, ack_bytes(0))])
def test_a_server_that_ignores_options_is_followed(stage: Stage, opcode: Opcode, answer: bytes) -> None:
    future = stage.run(stage.address, opcode)
    stage.transfer.sendto(answer, stage.asked_by())
    opened = future.result(10)
    assert opened.opening.agreed == Agreed()
    assert opened.first == answer


def test_a_refusal_comes_back_with_its_code(stage: Stage) -> None:
    future = stage.run(stage.address)
    stage.transfer.sendto(ErrorPacket(8, "no options here").to_bytes(), stage.asked_by())
    with pytest.raises(TransferFailed) as caught:
        future.result(10)
    assert (caught.value.end, caught.value.code) == (End.PEER_ERROR, ErrorCode.OPTION_REFUSED)


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (OptionAck((("blksize", "65464"),)).to_bytes(), 8),
        (OptionAck((("rollover", "0"),)).to_bytes(), 8),
        (ack_bytes(0), 4),
        (b"\0\7", 4),
        (b"", 4),
    ],
)
def test_an_answer_against_the_rules_is_refused_and_the_server_is_told(stage: Stage, answer: bytes, code: int) -> None:
    future = stage.run(stage.address)
    stage.transfer.sendto(answer, stage.asked_by())
    with pytest.raises(TransferFailed) as caught:
        future.result(10)
    assert (caught.value.end, caught.value.code) == (End.PEER_BROKE_RULES, code)
    assert stage.transfer.recv(600)[:4] == b"\0\5" + code.to_bytes(2, "big")


def test_the_request_is_repeated(stage: Stage) -> None:
    future = stage.run(stage.address, timer=ResendTimer(first_s=0.01))
    client = stage.asked_by()
    assert stage.asked_by() == client
    stage.transfer.sendto(OACK, client)
    assert future.result(10).opening.resends >= 1


# Nobody there.


def test_a_closed_port_is_known_at_once(stage: Stage) -> None:
    address = stage.address
    stage.port.close()
    started_at = time.monotonic()
    with pytest.raises(TransferFailed) as caught:
        ask(address)
    assert caught.value.end is End.PEER_GONE
    assert time.monotonic() - started_at < 10


def test_a_silent_server_is_given_up(stage: Stage) -> None:
    with pytest.raises(TransferFailed) as caught:
        ask(stage.address, timer=ResendTimer(first_s=0.02, give_up_s=0.1))
    assert caught.value.end is End.TIMED_OUT


def test_a_flood_from_elsewhere_does_not_keep_us_waiting(stage: Stage) -> None:
    future = stage.run(stage.address, timer=ResendTimer(first_s=0.02, give_up_s=0.2))
    client = stage.asked_by()
    given_up = threading.Event()
    future.add_done_callback(lambda _: given_up.set())
    started_at = time.monotonic()
    while not given_up.is_set() and time.monotonic() - started_at < 10:
        stage.stranger.sendto(OACK, client)
    with pytest.raises(TransferFailed, match="no answer"):
        future.result(10)


# Strangers.


@pytest.mark.parametrize("forged", [OACK, data(1, b"forged"), ErrorPacket(1, "no such file").to_bytes(), b"\0\7"])
def test_an_answer_from_another_address_is_not_heard(stage: Stage, forged: bytes) -> None:
    future = stage.run(stage.address)
    client = stage.asked_by()
    stage.stranger.sendto(forged, client)
    stage.transfer.sendto(data(1, b"real"), client)
    assert future.result(10).first == data(1, b"real")


def test_a_server_that_answers_from_another_address_can_be_allowed(stage: Stage) -> None:
    future = stage.run(stage.address, any_source=True)
    stage.stranger.sendto(data(1, b"another address"), stage.asked_by())
    opened = future.result(10)
    assert opened.first == data(1, b"another address")
    assert opened.endpoint.sock.getpeername() == stage.stranger.getsockname()


def test_strangers_are_told_and_do_not_hurt_the_transfer(stage: Stage) -> None:
    future = stage.run(stage.address)
    client = stage.asked_by()
    stage.transfer.sendto(OptionAck((("blksize", "8"),)).to_bytes(), client)
    opened = future.result(10)
    sink = MemorySink()
    receiver = Receiver(Role.GET, opened.opening.agreed, ResendTimer(), now=time.monotonic(), first_ack=True)
    with ThreadPoolExecutor(max_workers=1) as threads:
        running = threads.submit(run_receiver, Pump(opened.endpoint, receiver), receiver, sink)
        stage.stranger.sendto(ErrorPacket(0, "stop").to_bytes(), client)
        stage.stranger.sendto(data(1, b"forgery!"), client)
        stage.port.sendto(data(1, b"forgery!"), client)  # the right address, the wrong port
        assert stage.stranger.recv(600) == stage.port.recv(600) == UNKNOWN_TID
        stage.transfer.sendto(data(1, b"12345678"), client)
        stage.transfer.sendto(data(2, b"end"), client)
        while stage.transfer.recv(600) != ack_bytes(2):
            pass
        running.result(10)
    assert sink.content == b"12345678end"


def test_an_answer_that_came_twice_is_not_answered_with_an_error(stage: Stage) -> None:
    future = stage.run(stage.address)
    client = stage.asked_by()
    for _ in range(3):  # some of them come before our second socket is there
        stage.transfer.sendto(OACK, client)
    opened = future.result(10)
    opened.endpoint.answer_strays()
    opened.endpoint.send(ack_bytes(0))
    assert parse_untrusted(stage.transfer.recv(600)) == parse_untrusted(ack_bytes(0))
    stage.transfer.setblocking(False)
    with pytest.raises(BlockingIOError):
        stage.transfer.recv(600)


def test_a_stranger_whose_port_is_closed_does_not_keep_us_busy(stage: Stage) -> None:
    # Our ERROR 5 to it comes back as an ICMP error; left in the socket that would end every wait at once.
    future = stage.run(stage.address)
    client = stage.asked_by()
    stage.transfer.sendto(OACK, client)
    endpoint = future.result(10).endpoint
    stage.stranger.sendto(ack_bytes(1), client)
    stage.stranger.close()
    endpoint.answer_strays()
    assert endpoint.strays == 1
    poll = select.poll()
    assert endpoint._stray_sock is not None
    poll.register(endpoint._stray_sock, select.POLLIN)
    assert poll.poll(50) == []


def test_nobody_else_can_join_our_port(stage: Stage) -> None:
    future = stage.run(stage.address)
    client = stage.asked_by()
    stage.transfer.sendto(OACK, client)
    future.result(10)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as intruder:
        intruder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        intruder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        with pytest.raises(OSError, match="in use"):
            intruder.bind(("127.0.0.1", client[1]))


# IPv6.


@pytest.mark.parametrize("written", ["::1", "0:0:0:0:0:0:0:1"])
def test_ipv6_however_the_address_is_written(written: str) -> None:
    with (
        socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as server,
        ThreadPoolExecutor(max_workers=1) as threads,
    ):
        try:
            server.bind(("::1", 0))
        except OSError:
            pytest.skip("no IPv6 on loopback here")
        server.settimeout(10)
        future = threads.submit(ask, (written, server.getsockname()[1]), timer=ResendTimer(give_up_s=3))
        _, client = server.recvfrom(600)
        server.sendto(OACK, client)
        opened = future.result(10)
        assert opened.endpoint.sock.getpeername()[:2] == server.getsockname()[:2]
        opened.endpoint.close()
