from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator

import pytest

from blockstep.protocol.errors import End, TransferFailed
from blockstep.transport.channel import Channel
from support.streams import KINDS, connected, short_wait

Pair = tuple[Channel, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    near, far = socket.socketpair()
    channel = Channel(near, idle_s=0.05)
    with far:
        yield channel, far
        channel.close()


def room(count: int = 100) -> memoryview:
    return memoryview(bytearray(count))


def test_bytes_go_and_come(pair: Pair) -> None:
    channel, far = pair
    channel.send(b"there")
    assert far.recv(100) == b"there"
    far.sendall(b"back")
    space = room()
    assert channel.receive(space) == 4
    assert bytes(space[:4]) == b"back"
    far.close()
    assert channel.receive(space) == 0


def test_what_is_not_there_is_not_waited_for(pair: Pair) -> None:
    channel, far = pair
    assert channel.receive_now(room()) is None
    far.sendall(b"x")
    assert channel.receive_now(room()) == 1
    assert channel.receive_now(room()) is None
    far.close()
    assert channel.receive_now(room()) == 0


def test_a_wait_without_a_byte_has_a_limit(pair: Pair) -> None:
    channel, _ = pair
    with pytest.raises(TransferFailed, match=r"nothing moved for 0.05 s") as caught:
        channel.receive(room())
    assert caught.value.end is End.TIMED_OUT
    with pytest.raises(TransferFailed) as caught:
        channel.send(bytes(10_000_000))
    assert caught.value.end is End.TIMED_OUT
    assert channel.mid_send


def test_a_reader_that_is_slow_but_reads_is_waited_for(pair: Pair) -> None:
    """A frame that takes longer than the limit as a whole, while every part of it moves."""
    channel, far = pair
    channel.idle_s = 1.0
    far.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    channel.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    pause = threading.Event()

    def slow() -> None:
        left = 200_000
        while left:
            pause.wait(0.025)
            left -= len(far.recv(4096))

    thread = threading.Thread(target=slow)
    thread.start()
    channel.send(bytes(200_000))
    thread.join()
    assert not channel.mid_send


def test_the_deadline_is_on_the_callers_clock() -> None:
    near, far = socket.socketpair()
    now = 100.0
    with far:
        channel = Channel(near, idle_s=10.0, clock=lambda: now)
        channel.deadline = 101.0
        channel.send(b"in time")
        now = 101.0
        for call in (lambda: channel.send(b"late"), lambda: channel.receive(room())):
            with pytest.raises(TransferFailed) as caught:
                call()
            assert caught.value.end is End.MAX_TIME
        channel.close()
        assert channel.closed


def test_a_broken_connection_is_a_peer_that_is_gone(pair: Pair) -> None:
    channel, far = pair
    far.close()
    with pytest.raises(TransferFailed, match="the connection broke: broken pipe") as caught:
        channel.send(b"x")
    assert caught.value.end is End.PEER_GONE


def test_goodbye_closes_and_is_heard(pair: Pair) -> None:
    channel, far = pair
    far.sendall(bytes(1000))
    far.shutdown(socket.SHUT_WR)
    channel.farewell(b"goodbye")
    assert channel.closed
    assert short_wait(far) == b"goodbye"


def test_no_goodbye_in_the_middle_of_a_frame(pair: Pair) -> None:
    channel, far = pair
    with pytest.raises(TransferFailed):
        channel.send(bytes(10_000_000))
    channel.farewell(b"goodbye")
    assert not short_wait(far).endswith(b"goodbye")


def test_goodbye_to_nobody_is_no_error(pair: Pair) -> None:
    channel, far = pair
    far.close()
    channel.farewell(b"goodbye")
    channel.close()
    assert channel.closed


@pytest.mark.parametrize("kind", KINDS)
def test_a_goodbye_is_heard_by_one_who_is_still_sending(kind: str) -> None:
    with connected(kind) as (client, server):
        heard: list[bytes] = []

        def talk() -> None:
            with client() as sock:
                sock.sendall(bytes(2_000_000))
                heard.append(short_wait(sock))

        thread = threading.Thread(target=talk)
        thread.start()
        channel = Channel(server())
        channel.receive(room())
        channel.farewell(b"goodbye")
        thread.join()
        assert heard == [b"goodbye"]


def test_what_tls_holds_back_is_found_without_a_readable_socket() -> None:
    with connected("tls") as (client, server):
        done = threading.Event()

        def talk() -> None:
            with client() as sock:
                sock.sendall(b"two")
                done.wait(10)

        thread = threading.Thread(target=talk)
        thread.start()
        sock = server()
        assert isinstance(sock, ssl.SSLSocket)
        channel = Channel(sock)
        assert channel.receive(room(1)) == 1
        assert channel.receive_now(room(1)) == 1
        assert channel.receive_now(room(5)) == 1
        assert channel.receive_now(room(5)) is None
        channel.close()
        done.set()
        thread.join()
