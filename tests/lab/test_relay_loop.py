"""The loop in this very process, which ends itself: what test_relay shows of a process, without one."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from blockstep.protocol.wire import ack_bytes
from blockstep_lab.conditions import Conditions
from blockstep_lab.relay_loop import RelayLoop, RelaySetup
from blockstep_lab.relay_ports import bound_socket
from blockstep_lab.rules import Rule


@pytest.fixture
def sockets() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def udp(sockets: ExitStack) -> socket.socket:
    sock = sockets.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    sock.bind(("127.0.0.1", 0))
    sock.settimeout(10)
    return sock


def relay_to(
    sockets: ExitStack, server: socket.socket, words: str = "", *rules: str
) -> tuple[RelayLoop, socket.socket]:
    """A loop that has not begun, and the socket at which it listens."""
    listener = bound_socket(socket.AF_INET, ("127.0.0.1", 0))
    conditions = Conditions.parse(words)
    setup = RelaySetup(
        upstream=server.getsockname(),
        upstream_family=socket.AF_INET,
        conditions_up=conditions,
        conditions_down=conditions,
        rules=tuple(map(Rule.parse, rules)),
        seed="7",
    )
    loop = RelayLoop(listener, setup)
    sockets.callback(loop.close)
    return loop, listener


def run_until_heard(loop: RelayLoop, sock: socket.socket) -> tuple[bytes, tuple[str, int]]:
    heard: list[tuple[bytes, tuple[str, int]]] = []
    with sock.dup() as copy:

        def hear() -> None:
            heard.append(copy.recvfrom(600))
            loop.stop()

        loop.watch(copy, hear)
        loop.run(on_sweep=lambda: pytest.fail("nothing came for a second"))
    return heard[0]


def test_a_packet_goes_through_and_is_counted(sockets: ExitStack) -> None:
    client, server = udp(sockets), udp(sockets)
    loop, listener = relay_to(sockets, server)
    client.sendto(ack_bytes(1), listener.getsockname())
    packet, source = run_until_heard(loop, server)
    assert packet == ack_bytes(1)
    assert source not in (client.getsockname(), listener.getsockname())
    report = loop.report()
    assert (report.up.counters.delivered, report.down.counters.packets) == (1, 0)


def test_what_is_held_back_when_it_stops_is_not_delivered(sockets: ExitStack) -> None:
    client, server, waker = udp(sockets), udp(sockets), udp(sockets)
    loop, listener = relay_to(sockets, server, "delay 30s")
    client.sendto(ack_bytes(1), listener.getsockname())
    client.sendto(b"", waker.getsockname())
    run_until_heard(loop, waker)
    server.setblocking(False)
    with pytest.raises(BlockingIOError):
        server.recv(600)


def test_a_change_holds_from_the_next_packet_on(sockets: ExitStack) -> None:
    client, server = udp(sockets), udp(sockets)
    loop, listener = relay_to(sockets, server, "loss 100%")
    loop.change(Conditions(), None, [Rule.parse("drop ACK 1")])
    for number in (1, 2):
        client.sendto(ack_bytes(number), listener.getsockname())
    assert run_until_heard(loop, server)[0] == ack_bytes(2)
    assert str(loop.report().down.conditions) == "loss 100%"
