from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from blockstep_lab.simnet import Send, SimAddress
from blockstep_lab.testing.nodes import NodeLoop


class Echo:
    """Says what it hears, and `tick` to whom it heard last when its deadline comes."""

    def __init__(self, send: Send) -> None:
        self.send = send
        self.peer: SimAddress | None = None
        self.deadline: float | None = None

    def next_deadline(self) -> float | None:
        return self.deadline

    def handle_deadline(self, now: float) -> None:
        self.deadline = None
        assert self.peer is not None
        self.send(b"tick", self.peer)

    def handle_datagram(self, data: bytes, source: SimAddress, now: float) -> None:
        self.peer = source
        if data == b"later":
            self.deadline = now + 0.02
        self.send(data, source)


@pytest.fixture
def client() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(10)
        yield sock


def test_datagrams_and_deadlines_reach_the_node(client: socket.socket) -> None:
    turns = threading.Semaphore(0)
    loop = NodeLoop(turns.release)
    address = loop.address_of(loop.attach(("127.0.0.1", 0), Echo))
    loop.start()
    client.sendto(b"later", address)
    assert [client.recv(100) for _ in range(2)] == [b"later", b"tick"]
    loop.close()
    assert turns.acquire(timeout=5)


def test_after_close_nothing_is_left(client: socket.socket) -> None:
    before = threading.active_count()
    loop = NodeLoop()
    address = loop.address_of(loop.attach(("127.0.0.1", 0), Echo))
    loop.start()
    loop.close()
    loop.close()
    assert threading.active_count() == before
    client.connect(address)
    client.send(b"anybody")
    with pytest.raises(ConnectionRefusedError):
        client.recv(100)


def test_a_loop_that_never_began_can_be_closed() -> None:
    loop = NodeLoop()
    node = loop.attach(("127.0.0.1", 0), Echo)
    taken = loop.address_of(node)
    with pytest.raises(OSError, match="in use"):
        loop.attach(taken, Echo)
    loop.detach(node)
    loop.attach(taken, Echo)
    loop.close()


def test_a_node_that_cannot_be_made_leaves_no_socket() -> None:
    def fail(send: Send) -> Echo:
        raise ValueError

    loop = NodeLoop()
    with pytest.raises(ValueError):
        loop.attach(("127.0.0.1", 0), fail)
    loop.close()
