"""Requests from where none can come and to where none should go, and addresses that are written in another way.

The forged ones are made by raw sockets in network namespaces of the test's own, on a cable that leads nowhere else.
Silence is never waited for: an honest transfer that comes behind is served, and a raw socket has seen what else there
was.
"""

from __future__ import annotations

import os
import socket
import struct
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from blockstep.protocol.errors import ErrorCode
from blockstep.protocol.wire import Data, ErrorPacket, ack_bytes, parse_untrusted
from blockstep_lab.netns.forked import quiet_fork
from blockstep_lab.netns.host import Host
from support.bad_requests import rrq
from support.ip_packets import udp
from support.labs import obstacle, udp_socket
from support.processes import HAS_IPV6, RunningServer
from support.veth import two_hosts

CONTENT = b"the good file"
PORT, OTHER_PORT = 6969, 6970
PATIENCE_S = 30.0


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "good").write_bytes(CONTENT)
    return tmp_path / "root"


def serve(root: Path, *options: str) -> list[str]:
    user = () if os.geteuid() else ("--user", "root")
    argv = [sys.executable, "-W", "error", "-m", "blockstep", "serve", str(root), "--log-format", "json", "-v"]
    return [*argv, *user, *options]


@contextmanager
def running(root: Path, argv: list[str], **popen: Any) -> Iterator[RunningServer]:
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with quiet_fork(), RunningServer(argv, env=environ, start_new_session=True, **popen) as server:
        yield server
        server.stop_and_check(root)


def fetch(sock: socket.socket, address: tuple[Any, ...]) -> None:
    """Fetch the good file as an honest client."""
    sock.sendto(rrq("good"), address)
    datagram, source = sock.recvfrom(1000)
    assert parse_untrusted(datagram) == Data(1, memoryview(CONTENT))
    assert source[0] == address[0]
    sock.sendto(ack_bytes(1), source)


def forged(source: tuple[str, int], destination: tuple[str, int], payload: bytes) -> bytes:
    """An IPv4 packet; the kernel fills in its length and its checksum."""
    hosts = socket.inet_aton(source[0]) + socket.inet_aton(destination[0])
    head = struct.pack(">BBHHHBBH", 0x45, 0, 0, 0, 0, 64, socket.IPPROTO_UDP, 0) + hosts
    return head + udp(payload, source=source[1], destination=destination[1])


class Watch:
    """All UDP that arrives at a host, by a raw socket."""

    def __init__(self, host: Host) -> None:
        self.sock = host.open_socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_UDP)
        self.sock.setblocking(False)

    def seen_from(self, *ports: int) -> list[tuple[int, bytes]]:
        """(destination port, payload) of what has come from these ports. Looks once, the rest is thrown away."""
        found: list[tuple[int, bytes]] = []
        while True:
            try:
                packet = self.sock.recv(70_000)
            except BlockingIOError:
                return found
            source, destination = struct.unpack_from(">HH", packet, 20)
            if source in ports:
                found.append((destination, packet[28:]))


class Cable:
    """A server on `far`, two of them if asked, and a client on `near`."""

    def __init__(self, near: Host, far: Host, stack: ExitStack) -> None:
        self.near, self.far = near, far
        self.client = stack.enter_context(udp_socket(near))
        self.at_near, self.at_far = Watch(near), Watch(far)
        for watch in (self.at_near, self.at_far):
            stack.enter_context(watch.sock)
        self._stack = stack

    def send_raw(self, host: Host, packet: bytes, device: bytes = b"") -> None:
        """Out of this `device`, if it is named, also what has no route."""
        with host.open_socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device)
            raw.sendto(packet, (socket.inet_ntoa(packet[16:20]), 0))

    def server(self, root: Path, port: int) -> RunningServer:
        argv = serve(root, "-b", f"0.0.0.0:{port}", "--single-port")
        return self._stack.enter_context(running(root, argv, preexec_fn=self.far.namespaces.enter))

    def expect_one_transfer(self, server: RunningServer) -> None:
        """The honest client is served, and the log has nobody else."""
        fetch(self.client, (self.far.address, PORT))
        record = server.await_event("transfer")
        assert record["peer"] == "{}:{}".format(*self.client.getsockname())
        assert server.children() == []


@pytest.fixture
def cable() -> Iterator[Cable]:
    if os.geteuid() or obstacle():
        pytest.skip(obstacle() or "needs root")
    with two_hosts() as (near, far), ExitStack() as stack:
        yield Cable(near, far, stack)


@pytest.mark.netns
def test_port_0_broadcast_and_multicast_get_no_answer(cable: Cable, root: Path) -> None:
    server = cable.server(root, PORT)
    for destination in (cable.far.address, "198.18.0.255", "255.255.255.255", "224.0.0.1"):
        for source_port in (0, 40_000):
            if (destination, source_port) == (cable.far.address, 40_000):
                continue  # that would be an honest one
            packet = forged((cable.near.address, source_port), (destination, PORT), rrq("good"))
            cable.send_raw(cable.near, packet, b"cable")
    cable.expect_one_transfer(server)
    honest = cable.client.getsockname()[1]
    assert {port for port, _ in cable.at_near.seen_from(PORT)} == {honest}
    arrived = [port for port, _ in cable.at_far.seen_from(0, 40_000)]
    assert arrived == [PORT] * 7, "all of the forged requests came"


@pytest.mark.netns
def test_a_server_does_not_talk_to_itself(cable: Cable, root: Path) -> None:
    """By any of its own addresses."""
    server = cable.server(root, PORT)
    for host in (cable.far.address, "127.0.0.1", "127.0.0.77"):
        for request in (rrq("good"), rrq("missing"), rrq("good", "blksize", "0")):
            cable.send_raw(cable.far, forged((host, PORT), (cable.far.address, PORT), request))
            cable.send_raw(cable.far, forged((host, PORT), (host, PORT), request))
    cable.expect_one_transfer(server)
    heard = cable.at_far.seen_from(PORT)
    assert {payload[:2] for _, payload in heard} == {b"\0\1"}, "only the forged requests, and no answer to one"


@pytest.mark.netns
def test_two_servers_do_not_talk_to_each_other(cable: Cable, root: Path) -> None:
    """One answers what seems to come from the other with a single ERROR, and that is the end of it."""
    server, other = cable.server(root, PORT), cable.server(root, OTHER_PORT)
    cable.send_raw(cable.far, forged((cable.far.address, OTHER_PORT), (cable.far.address, PORT), rrq("missing")))
    assert server.await_event("transfer")["code"] == ErrorCode.FILE_NOT_FOUND
    fetch(cable.client, (cable.far.address, OTHER_PORT))  # it has heard the ERROR by now, and serves on
    assert other.await_event("transfer")["result"] == "complete"
    cable.expect_one_transfer(server)
    said = [parse_untrusted(payload) for port, payload in cable.at_far.seen_from(PORT) if port == OTHER_PORT]
    assert [type(packet) for packet in said] == [ErrorPacket]


# As systemd does it: the socket is descriptor 3 of a process that knows to be meant.
HANDED_OVER = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1")
os.execv(sys.argv[2], sys.argv[2:])
"""


@pytest.mark.skipif(not HAS_IPV6, reason="this machine has no IPv6")
def test_ipv4_in_the_clothes_of_ipv6_is_ipv4(root: Path) -> None:
    """On a socket for both families, which systemd may hand over: answers, networks and the log know it as IPv4."""
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as both:
        both.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        both.bind(("::", 0))
        port = both.getsockname()[1]
        argv = [sys.executable, "-c", HANDED_OVER, str(both.fileno()), *serve(root, "--deny", "127.0.0.9")]
        with (
            running(root, argv, pass_fds=[both.fileno()]) as server,
            _socket_at("127.0.0.9") as denied,
            _socket_at("127.0.0.8") as honest,
        ):
            denied.sendto(rrq("good"), ("127.0.0.1", port))
            fetch(honest, ("127.0.0.1", port))
            assert server.await_event("transfer")["peer"] == "{}:{}".format(*honest.getsockname())
            denied.setblocking(False)
            with pytest.raises(BlockingIOError):
                denied.recv(1000)


def _socket_at(host: str) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((host, 0))
    sock.settimeout(PATIENCE_S)
    return sock
