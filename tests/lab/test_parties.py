from __future__ import annotations

import pytest

from blockstep.protocol.errors import RemoteError, TransferFailed
from blockstep.protocol.options import Limits, Wanted
from blockstep.protocol.wire import ErrorPacket, Opcode, ack_bytes, parse_untrusted
from blockstep_lab.drivers import ReceiveDriver
from blockstep_lab.parties import LISTENER, Client, Listener, Plan
from blockstep_lab.simnet import Send, SimAddress, SimNet

CONTENT = bytes(range(256)) * 20


def stage(plan: Plan, up: str = "", rules: tuple[str, ...] = ()) -> tuple[SimNet, Client, Listener]:
    net = SimNet(1)
    net.link("client", "server", up=up, down=up, rules=rules)
    listener = net.attach(LISTENER, lambda send: Listener(send, net, plan))
    return net, net.attach(("client", 0), lambda send: Client(send, plan)), listener


def received(party: object) -> bytes:
    driver = getattr(party, "driver", None)
    assert isinstance(driver, ReceiveDriver)
    assert driver.committed
    return bytes(driver.received)


@pytest.mark.parametrize("single_port", [False, True])
@pytest.mark.parametrize("wanted", [Wanted(), Wanted(blksize=1000, windowsize=3, timeout_s=2, tsize=0)])
def test_a_file_is_read(wanted: Wanted, single_port: bool) -> None:
    net, client, listener = stage(Plan(content=CONTENT, wanted=wanted, single_port=single_port), "delay 5ms")
    net.run()
    assert received(client) == CONTENT
    assert client.error is None
    assert client.peer[1] == 69 or not single_port
    assert len(listener.parties) == 1


@pytest.mark.parametrize("single_port", [False, True])
def test_a_file_is_written(single_port: bool) -> None:
    plan = Plan(opcode=Opcode.WRQ, content=CONTENT, wanted=Wanted(windowsize=3), single_port=single_port)
    net, client, listener = stage(plan, "delay 5ms")
    net.run()
    assert received(listener.current) == CONTENT
    assert client.delivered_at is not None


def test_a_request_that_comes_twice_starts_one_transfer() -> None:
    net, client, listener = stage(Plan(content=CONTENT), "delay 5ms", ("duplicate RRQ",))
    net.run()
    assert received(client) == CONTENT
    assert len(listener.parties) == 1


def test_a_request_that_was_lost_is_made_again() -> None:
    net, client, _ = stage(Plan(content=CONTENT), "delay 5ms", ("drop RRQ first 2",))
    net.run()
    assert received(client) == CONTENT
    assert client.opening.resends == 2


def test_a_refusal_reaches_the_client() -> None:
    net, client, _ = stage(Plan(content=CONTENT, wanted=Wanted(tsize=0), limits=Limits()), "", ("corrupt RRQ",))
    net.run()
    assert isinstance(client.error, RemoteError | TransferFailed)


class Stranger:
    """Sends one datagram to whoever it is told, and keeps the answers."""

    def __init__(self, send: Send, to: SimAddress, at: float) -> None:
        self.answers: list[bytes] = []
        self._send, self._to = send, to
        self._at: float | None = at

    def next_deadline(self) -> float | None:
        return self._at

    def handle_deadline(self, now: float) -> None:
        self._at = None
        self._send(ack_bytes(1), self._to)

    def handle_datagram(self, data: bytes, source: SimAddress, now: float) -> None:
        self.answers.append(data)


def test_a_stranger_is_told_and_changes_nothing() -> None:
    net, client, _ = stage(Plan(content=CONTENT), "delay 5ms")
    net.run(until=lambda: client.driver is not None)
    stranger = net.attach(("client", 7), lambda send: Stranger(send, client.peer, net.now + 0.001))
    net.run()
    assert received(client) == CONTENT
    packet = parse_untrusted(stranger.answers[0])
    assert isinstance(packet, ErrorPacket)
    assert packet.code == 5


def test_a_server_that_vanishes_is_given_up() -> None:
    net, client, _ = stage(Plan(content=CONTENT), "", ("drop DATA 3-",))
    net.run()
    assert isinstance(client.error, TransferFailed)
    assert "no progress for 24.0 s" in str(client.error)
