from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator

import pytest

from blockstep.protocol.errors import LocalError
from blockstep_server.listen import Arrival, CannotBind, adopt, host_port, open_udp, receive_request
from blockstep_server.values import Bind

FAMILIES = pytest.mark.parametrize("loopback", ["127.0.0.1", "::1"])


@pytest.fixture
def client(loopback: str) -> Iterator[socket.socket]:
    with _client(loopback) as sock:
        yield sock


def _client(loopback: str) -> socket.socket:
    family = socket.AF_INET6 if ":" in loopback else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_DGRAM)
    try:
        sock.bind((loopback, 0))
    except OSError:
        sock.close()
        pytest.skip(f"this machine has no {loopback}")
    sock.settimeout(10)
    return sock


def arrival_at(sock: socket.socket) -> Arrival:
    """On loopback a datagram is there when `sendto` returns."""
    arrival = receive_request(sock)
    assert arrival is not None
    return arrival


@FAMILIES
@pytest.mark.parametrize("wildcard", [False, True], ids=["specific", "wildcard"])
def test_an_arrival_tells_which_address_was_asked(client: socket.socket, loopback: str, wildcard: bool) -> None:
    for sock in open_udp(Bind("" if wildcard else loopback, 0), 69):
        with sock:
            if sock.family != client.family:
                continue
            port = sock.getsockname()[1]
            client.sendto(b"hello", (loopback, port))
            arrival = arrival_at(sock)
            assert (arrival.data, arrival.local, arrival.local_port) == (b"hello", loopback, port)
            assert arrival.peer == client.getsockname()
            assert arrival.unicast
            assert arrival.whole
            assert arrival.family == client.family
            assert receive_request(sock) is None


@pytest.mark.skipif(not os.path.exists("/proc/sys/net/ipv4"), reason="all of 127.0.0.0/8 is local on Linux only")
def test_another_loopback_address_is_told_apart() -> None:
    (sock,) = open_udp(Bind("0.0.0.0", 0), 69)
    with sock, _client("127.0.0.1") as client:
        client.sendto(b"", ("127.0.0.77", sock.getsockname()[1]))
        assert arrival_at(sock).local == "127.0.0.77"


def test_a_broadcast_is_known_as_one() -> None:
    (sock,) = open_udp(Bind("0.0.0.0", 0), 69)
    with sock, _client("127.0.0.1") as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        client.sendto(b"\0\1f\0octet\0", ("127.255.255.255", sock.getsockname()[1]))
        assert not arrival_at(sock).unicast


def test_a_datagram_longer_than_any_request_is_marked() -> None:
    (sock,) = open_udp(Bind("127.0.0.1", 0), 69)
    with sock, _client("127.0.0.1") as client:
        client.sendto(bytes(2048), sock.getsockname())
        assert arrival_at(sock).whole
        client.sendto(bytes(2049), sock.getsockname())
        assert not arrival_at(sock).whole


def test_all_addresses_are_one_port_in_both_families() -> None:
    sockets = open_udp(Bind("", 0), 69)
    assert len({sock.getsockname()[1] for sock in sockets}) == 1
    assert {sock.family for sock in sockets} <= {socket.AF_INET, socket.AF_INET6}
    for sock in sockets:
        sock.close()


def test_the_receive_buffer_is_larger_than_the_default() -> None:
    (sock,) = open_udp(Bind("127.0.0.1", 0), 69)
    with sock, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as plain:
        size = sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
        assert size >= plain.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)


def test_a_port_in_use_names_the_ways_out_and_is_not_shared() -> None:
    (first,) = open_udp(Bind("127.0.0.1", 0), 69)
    with first, pytest.raises(CannotBind, match="Another server has it") as caught:
        open_udp(Bind("127.0.0.1", first.getsockname()[1]), 69)
    assert isinstance(caught.value.__cause__, OSError)
    assert caught.value.__cause__.errno == errno.EADDRINUSE


def test_an_address_of_another_machine_names_the_way_out() -> None:
    with pytest.raises(CannotBind, match="does not have that address"):
        open_udp(Bind("192.0.2.1", 0), 69)


def test_a_name_that_does_not_resolve_is_a_bind_failure() -> None:
    with pytest.raises(CannotBind, match="cannot listen on"):
        open_udp(Bind("no such name", 0), 69)


def test_an_inherited_socket_is_adopted_and_mapped_addresses_become_ipv4() -> None:
    both = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    both.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    try:
        both.bind(("::", 0))
    except OSError:
        both.close()
        pytest.skip("this machine has no IPv6")
    with adopt(both.detach()) as sock, _client("127.0.0.1") as client:
        client.sendto(b"x", ("127.0.0.1", sock.getsockname()[1]))
        arrival = arrival_at(sock)
        assert (arrival.peer, arrival.local) == (client.getsockname(), "127.0.0.1")
        assert arrival.family == socket.AF_INET


def test_what_cannot_be_listened_on_is_not_adopted() -> None:
    datagrams = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    with pytest.raises(LocalError, match="no UDP or stream socket"):
        adopt(datagrams.detach())
    read_fd, write_fd = os.pipe()
    with pytest.raises(LocalError, match="no socket"):
        adopt(read_fd)
    os.close(read_fd)
    os.close(write_fd)


def test_addresses_in_words() -> None:
    assert host_port(("192.0.2.1", 69)) == "192.0.2.1:69"
    assert host_port(("2001:db8::1", 69, 0, 0)) == "[2001:db8::1]:69"
    link_local = Arrival(b"", ("fe80::2", 1, 0, 7), "fe80::1", 69, ifindex=7)
    assert link_local.local_sockaddr(5) == ("fe80::1", 5, 0, 7)
