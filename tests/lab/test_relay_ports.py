from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from blockstep_lab.relay_ports import Port, Side, bound_socket, kernel_drops
from blockstep_lab.rules import RuleBook


@pytest.fixture
def side() -> Iterator[Side]:
    made = Side(socket.AF_INET, ("127.0.0.1", 0), most=4)
    yield made
    for port in made:
        port.sock.close()


def open_port(side: Side, number: int, last_used: float) -> Port:
    port = side.maybe_open(("192.0.2.1", number), RuleBook().start_flow)
    assert port is not None
    port.last_used = last_used
    return port


def test_each_address_has_one_port(side: Side) -> None:
    port = open_port(side, 1, 0.0)
    assert side.get(("192.0.2.1", 1)) is port
    assert side.get(("192.0.2.1", 2)) is None


def test_no_more_ports_than_allowed(side: Side) -> None:
    for number in range(4):
        open_port(side, number, 0.0)
    assert side.maybe_open(("192.0.2.1", 9), None) is None


@pytest.mark.parametrize(("count", "kept"), [(2, [0, 1]), (3, [2])])
def test_idle_ports_go_sooner_where_half_are_taken(side: Side, count: int, kept: list[int]) -> None:
    ports = [open_port(side, number, last_used) for number, last_used in zip(range(count), (50, 60, 95), strict=False)]
    for port in side.pop_idle(100.0, idle_s=90.0):
        port.sock.close()
    assert [ports.index(port) for port in side] == kept


def test_a_full_receive_buffer_is_noticed() -> None:
    sock = bound_socket(socket.AF_INET, ("127.0.0.1", 0))
    with sock, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as source:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        assert kernel_drops(sock) == 0
        for _ in range(100):
            source.sendto(bytes(1000), sock.getsockname())
        assert kernel_drops(sock) > 0


def test_a_socket_that_can_not_be_bound_is_closed() -> None:
    with bound_socket(socket.AF_INET, ("127.0.0.1", 0)) as taken, pytest.raises(OSError, match="in use"):
        bound_socket(socket.AF_INET, taken.getsockname())
