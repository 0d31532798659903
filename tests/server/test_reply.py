from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from random import Random

import pytest

from blockstep_server.listen import Arrival, open_udp, receive_request
from blockstep_server.reply import NoPortLeft, open_fresh_port, open_single_port, unread
from blockstep_server.values import Bind, PortRange

WAYS = pytest.mark.parametrize("bind", ["127.0.0.1", "0.0.0.0", "::1", "::"])


class Scene:
    """A listener, a client that has asked, and a stranger."""

    def __init__(self, bind: str) -> None:
        self.loopback = "::1" if ":" in bind else "127.0.0.1"
        (self.listener,) = open_udp(Bind(bind, 0), 69)
        self.port = self.listener.getsockname()[1]
        self.client, self.stranger = self.bound(), self.bound()
        self.client.sendto(b"\0\1", (self.loopback, self.port))
        arrival = receive_request(self.listener)
        assert arrival is not None
        self.arrival: Arrival = arrival

    def bound(self) -> socket.socket:
        sock = socket.socket(self.listener.family, socket.SOCK_DGRAM)
        sock.bind((self.loopback, 0))
        sock.settimeout(10)
        return sock

    def close(self) -> None:
        for sock in (self.listener, self.client, self.stranger):
            sock.close()


@pytest.fixture
def scene(bind: str) -> Iterator[Scene]:
    try:
        scene = Scene(bind)
    except OSError as error:
        pytest.skip(f"no {bind} here: {error}")
    yield scene
    scene.close()


def received(sock: socket.socket | None) -> list[bytes]:
    """All that waits; on loopback a datagram is there when `sendto` returns."""
    assert sock is not None
    found = []
    while (arrival := receive_request(sock)) is not None:
        found.append(arrival.data)
    return found


@WAYS
def test_on_a_fresh_port_the_peer_and_strangers_are_told_apart(scene: Scene) -> None:
    sockets = open_fresh_port(scene.arrival, None, Random(1))
    address = sockets.hot.getsockname()
    assert sockets.stray is not None
    assert address == sockets.stray.getsockname()
    assert (address[0], address[1]) != (scene.loopback, scene.port)
    for _ in range(20):
        scene.client.sendto(b"peer", address)
        scene.stranger.sendto(b"stranger", address)
    assert received(sockets.hot) == [b"peer"] * 20
    assert received(sockets.stray) == [b"stranger"] * 20
    sockets.hot.send(b"answer")
    assert scene.client.recvfrom(100) == (b"answer", address)
    sockets.stray.sendto(b"go away", scene.stranger.getsockname())
    assert scene.stranger.recvfrom(100) == (b"go away", address)
    sockets.close()


@WAYS
def test_on_a_single_port_the_kernel_sorts_the_clients(scene: Scene) -> None:
    address = (scene.loopback, scene.port)
    others = [scene.bound() for _ in range(10)]
    transfers = []
    for client in (scene.client, *others):
        client.sendto(b"\0\1", address)
    for _ in range(11):
        arrival = receive_request(scene.listener)
        assert arrival is not None
        sockets, handed_back = open_single_port(scene.listener, arrival)
        assert handed_back == []
        assert sockets.stray is None
        transfers.append((arrival.peer, sockets.hot))
    for client in (scene.client, *others, scene.stranger):
        client.sendto(repr(client.getsockname()).encode(), address)
    for peer, hot in transfers:
        assert received(hot) == [repr(peer).encode()]
        hot.send(b"answer")
        hot.close()
    assert received(scene.listener) == [repr(scene.stranger.getsockname()).encode()]
    for client in (scene.client, *others):
        data, source = client.recvfrom(100)
        assert (data, source[:2]) == (b"answer", address)
    for client in others:
        client.close()


@WAYS
def test_what_lands_before_the_connect_is_handed_back(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    connect = socket.socket.connect

    def slow_connect(sock: socket.socket, peer: tuple[str, int]) -> None:
        scene.stranger.sendto(b"stranger", (scene.loopback, scene.port))
        scene.client.sendto(b"again", (scene.loopback, scene.port))
        connect(sock, peer)

    with monkeypatch.context() as patch:
        patch.setattr("socket.socket.connect", slow_connect)
        sockets, handed_back = open_single_port(scene.listener, scene.arrival)
    back = [(arrival.data, arrival.peer) for arrival in handed_back] + [
        (data, None) for data in received(scene.listener)
    ]
    assert sorted(data for data, _ in back) == [b"again", b"stranger"]
    assert received(sockets.hot) == []
    assert all(arrival.local == scene.loopback and arrival.local_port == scene.port for arrival in handed_back)
    sockets.close()


@WAYS
@pytest.mark.parametrize("single_port", [False, True], ids=["fresh port", "single port"])
def test_nobody_else_can_join_a_port_in_use(scene: Scene, single_port: bool) -> None:
    if single_port:
        sockets, _ = open_single_port(scene.listener, scene.arrival)
    else:
        sockets = open_fresh_port(scene.arrival, None, Random(1))
    thief = socket.socket(scene.listener.family, socket.SOCK_DGRAM)
    thief.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    thief.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    with pytest.raises(OSError, match="in use") as caught:
        thief.bind(sockets.hot.getsockname())
    assert caught.value.errno == errno.EADDRINUSE
    thief.close()
    sockets.close()


@pytest.mark.parametrize("bind", ["127.0.0.1"])
def test_two_transfers_never_get_the_same_fresh_port(scene: Scene) -> None:
    opened = [open_fresh_port(scene.arrival, None, Random(1)) for _ in range(200)]
    assert len({sockets.hot.getsockname()[1] for sockets in opened}) == 200
    for sockets in opened:
        sockets.close()


@pytest.mark.parametrize("bind", ["127.0.0.1"])
def test_a_port_range_is_used_up_and_then_said_to_be(scene: Scene) -> None:
    ports = _free_ports(scene, 4)
    opened = [open_fresh_port(scene.arrival, ports, Random(seed)) for seed in range(4)]
    assert {sockets.hot.getsockname()[1] for sockets in opened} == set(range(ports.low, ports.high + 1))
    with pytest.raises(NoPortLeft, match="all ports from"):
        open_fresh_port(scene.arrival, ports, Random(1))
    for sockets in opened:
        sockets.close()


def _free_ports(scene: Scene, count: int) -> PortRange:
    """Neighbouring ports that nobody has right now."""
    for low in range(20000, 30000, count):
        held = [socket.socket(scene.listener.family, socket.SOCK_DGRAM) for _ in range(count)]
        try:
            for number, sock in enumerate(held):
                sock.bind((scene.loopback, low + number))
            return PortRange(low, low + count - 1)
        except OSError:
            continue
        finally:
            for sock in held:
                sock.close()
    raise AssertionError("no free ports at all")


@pytest.mark.parametrize("bind", ["127.0.0.1"])
def test_a_peer_that_is_gone_does_not_hurt(scene: Scene) -> None:
    scene.client.close()
    sockets = open_fresh_port(scene.arrival, None, Random(1))
    sockets.hot.send(b"anybody there")
    with pytest.raises(ConnectionRefusedError):
        sockets.hot.recv(100)
    sockets.close()
    sockets.close()


@WAYS
def test_from_one_owner_to_the_next_no_datagram_is_lost(scene: Scene) -> None:
    """What is in the socket of a transfer that has ended belongs to the listener, which hears the peer from then on."""
    sockets, _ = open_single_port(scene.listener, scene.arrival)
    os.set_blocking(sockets.hot.fileno(), True)  # as an `Endpoint` of the child does
    scene.client.sendto(b"before", (scene.loopback, scene.port))
    assert [arrival.data for arrival in unread(sockets.hot)] == [b"before"]
    scene.client.sendto(b"after", (scene.loopback, scene.port))
    assert received(sockets.hot) == []
    assert received(scene.listener) == [b"after"]
    sockets.close()


@pytest.mark.parametrize("bind", ["127.0.0.1"])
def test_what_the_network_says_of_a_peer_that_has_gone_hurts_nobody(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An ICMP message may wait in the socket, and be the last word or not."""
    sockets, _ = open_single_port(scene.listener, scene.arrival)
    scene.client.sendto(b"before", (scene.loopback, scene.port))
    errors = [OSError(number, os.strerror(number)) for number in (errno.EHOSTUNREACH, errno.EACCES, errno.ECONNREFUSED)]

    def refuse_first(sock: socket.socket) -> Arrival | None:
        if errors:
            raise errors.pop()
        return receive_request(sock)

    monkeypatch.setattr("blockstep_server.reply.receive_request", refuse_first)
    assert [arrival.data for arrival in unread(sockets.hot)] == [b"before"]
    sockets.close()
