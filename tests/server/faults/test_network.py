"""A send that the own kernel refuses for a while is a lost packet and not the end: at the server, at a client.

On two hosts of a lab, so that one side's kernel can refuse while the other's does not know. It is observed, not
assumed, that a send was tried meanwhile: who could not send has counted a resend, or has read what it must answer.
"""

from __future__ import annotations

import errno
import json
import os
import socket
import struct
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from blockstep.protocol.wire import Opcode, Request
from blockstep_client.command import get, put
from blockstep_lab.netns.forked import quiet_fork
from blockstep_lab.netns.lab import Lab
from blockstep_server.status_command import ask
from support.client_process import ClientProcess
from support.cuts import CUTS, cut
from support.labs import PATIENCE_S, obstacle, udp_socket
from support.ownership import STAY
from support.transports import TransportServer

pytestmark = [pytest.mark.netns, pytest.mark.skipif(bool(obstacle()), reason=obstacle())]

EACH_CUT = pytest.mark.parametrize("error", CUTS, ids=errno.errorcode.get)
BLOCKS = [bytes([number]) * 512 for number in (1, 2)] + [b"the end"]
CONTENT = b"".join(BLOCKS)

Address = tuple[str, int]


def data(number: int) -> bytes:
    return b"\0\3\0" + bytes([number]) + BLOCKS[number - 1]


def ack(number: int) -> bytes:
    return b"\0\4\0" + bytes([number])


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab(seed=7) as made:
        yield made


@dataclass(frozen=True)
class Served:
    """A server on the right host. `folder` is its root, `control` where it says how far it is."""

    server: TransportServer
    folder: Path
    control: Path

    def await_resends(self, count: int) -> None:
        """Wait until the one transfer that there is has sent something again so many times."""
        while not [each for each in json.loads(ask(self.control, "status"))["transfers"] if each["resends"] >= count]:
            assert self.server.children()


@pytest.fixture(scope="module")
def served(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder, control = tmp_path_factory.mktemp("root"), tmp_path_factory.mktemp("control") / "socket"
    (folder / "file").write_bytes(CONTENT)
    options = ["--upload", "create", "--control", os.fspath(control), "--timeout", "0.2", "--retries", "100"]
    with serving_on(lab, folder, *options) as server:
        yield Served(server, folder, control)
        server.stop_and_check(folder)


@contextmanager
def serving_on(lab: Lab, folder: Path, *options: str) -> Iterator[TransportServer]:
    """A server on the right host."""
    serve = [sys.executable, "-W", "error", "-m", "blockstep", "serve", os.fspath(folder), "--log-format", "json", "-v"]
    bind = ("-b", f"{lab.right.address}:0", *STAY)
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with quiet_fork():
        started = TransportServer(
            [*serve, *bind, *options], env=environ, start_new_session=True, preexec_fn=lab.right.namespaces.enter
        )
    with started as server:
        yield server


@contextmanager
def asked(lab: Lab, served: Served, request: Request) -> Iterator[tuple[socket.socket, Address, bytes]]:
    """A client on the left host that has asked: its socket, who answered, and what."""
    with udp_socket(lab.left) as client:
        client.sendto(request.to_bytes(), served.server.address)
        answer, peer = client.recvfrom(1000)
        yield client, peer, answer


@EACH_CUT
def test_a_server_that_may_not_send_blocks_for_a_while(lab: Lab, served: Served, error: int) -> None:
    with asked(lab, served, Request(Opcode.RRQ, "file", "octet")) as (client, peer, answer):
        assert answer == data(1)
        with cut(lab.right, lab.left, error):
            client.sendto(ack(1), peer)
            served.await_resends(1)
        for number in (2, 3):
            await_packet(client, data(number))
            client.sendto(ack(number), peer)
    record = served.server.await_record("file")
    assert (record["result"], record["payload_bytes"]) == ("complete", len(CONTENT))
    assert record["resends"] >= 1


@EACH_CUT
def test_a_server_that_may_not_send_answers_for_a_while(lab: Lab, served: Served, error: int) -> None:
    name = f"new-{error}"
    with asked(lab, served, Request(Opcode.WRQ, name, "octet")) as (client, peer, answer):
        assert answer == ack(0)
        with cut(lab.right, lab.left, error):
            client.sendto(data(1), peer)
            served.await_resends(1)
        for number in (1, 2, 3):
            await_packet(client, ack(number))
            if number < len(BLOCKS):
                client.sendto(data(number + 1), peer)
        client.sendto(b"\0\5\0\0thank you\0", peer)
    assert served.server.await_record(name)["result"] == "complete"
    assert (served.folder / name).read_bytes() == CONTENT


def await_packet(sock: socket.socket, packet: bytes) -> None:
    """Pass over what is sent again until that comes."""
    while sock.recv(1000) != packet:
        pass


def counter(client: ClientProcess, name: str) -> int:
    """What the client's host has counted: `InDatagrams` that were read, `SndbufErrors` at sending."""
    table = Path(f"/proc/{client.pid}/net/snmp").read_text().splitlines()
    names, values = (line.split()[1:] for line in table if line.startswith("Udp:"))
    return int(dict(zip(names, values, strict=True))[name])


def say_and_see_it_read(client: ClientProcess, sock: socket.socket, peer: Address, packet: bytes) -> None:
    """Twice: a client that reads the second copy has been through with the first."""
    before = counter(client, "InDatagrams")
    for count in (1, 2):
        sock.sendto(packet, peer)
        while counter(client, "InDatagrams") < before + count:
            assert client.is_running()


@EACH_CUT
def test_a_client_that_may_not_send_answers_for_a_while(lab: Lab, tmp_path: Path, error: int) -> None:
    with udp_socket(lab.right) as server:
        url = "tftp://{}:{}/file".format(*server.getsockname())
        with ClientProcess(get, url, "-o", tmp_path / "file", enter=lab.left.namespaces.enter) as client:
            _request, peer = server.recvfrom(1000)
            server.sendto(data(1), peer)
            await_packet(server, ack(1))
            with cut(lab.left, lab.right, error):
                say_and_see_it_read(client, server, peer, data(2))
            for number in (2, 3):
                server.sendto(data(number), peer)
                await_packet(server, ack(number))
            assert client.wait() == 0, client.said()
    assert (tmp_path / "file").read_bytes() == CONTENT


@EACH_CUT
def test_a_client_that_may_not_send_blocks_for_a_while(lab: Lab, tmp_path: Path, error: int) -> None:
    (tmp_path / "file").write_bytes(CONTENT)
    with udp_socket(lab.right) as server:
        url = "tftp://{}:{}/file".format(*server.getsockname())
        with ClientProcess(put, tmp_path / "file", url, enter=lab.left.namespaces.enter) as client:
            _request, peer = server.recvfrom(1000)
            server.sendto(ack(0), peer)
            await_packet(server, data(1))
            with cut(lab.left, lab.right, error):
                say_and_see_it_read(client, server, peer, ack(1))
            for number in (2, 3):
                await_packet(server, data(number))
                server.sendto(ack(number), peer)
            assert client.wait() == 0
            assert "resends 0" not in client.said()


def test_a_client_whose_first_request_finds_no_room(lab: Lab, tmp_path: Path) -> None:
    """ENOBUFS: it asks again."""
    with udp_socket(lab.right) as server, ExitStack() as stack:
        url = "tftp://{}:{}/file".format(*server.getsockname())
        with cut(lab.left, lab.right, errno.ENOBUFS):
            client = ClientProcess(get, url, "-o", tmp_path / "file", enter=lab.left.namespaces.enter)
            stack.enter_context(client)
            while not counter(client, "SndbufErrors"):
                assert client.is_running()
        _request, peer = server.recvfrom(1000)
        server.sendto(b"\0\3\0\1the end", peer)
        assert client.wait() == 0, client.said()
    assert (tmp_path / "file").read_bytes() == b"the end"


_ICMP_UNREACHABLE = 3
# A network, a host, a protocol that cannot be reached; too large for a path of 1400 octets; a source route; unknown
# ones; isolated; forbidden. Not a port: that ends a transfer, and should.
_CODES = (0, 1, 2, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13)


def unreachable(code: int, source: Address, target: Address) -> bytes:
    """An ICMP message (RFC 792) that a router or a firewall sends for a datagram, or who forges one."""
    ip = struct.pack("!BBHHHBBH", 0x45, 0, 28, 0, 0, 64, socket.IPPROTO_UDP, 0)
    ip += socket.inet_aton(source[0]) + socket.inet_aton(target[0])
    body = struct.pack("!HH", 0, 1400) + ip + struct.pack("!HHHH", source[1], target[1], 8, 0)
    total = sum(struct.unpack(f"!H{len(body) // 2}H", bytes((_ICMP_UNREACHABLE, code)) + body))
    checksum = ~(total % 0xFFFF) & 0xFFFF
    return struct.pack("!BBH", _ICMP_UNREACHABLE, code, checksum) + body


def besiege(host: str, server: Address, rounds: int) -> None:
    """Fetch a file again and again, and say by ICMP that nobody is to be reached, before, at and after each end."""
    request = Request(Opcode.RRQ, "file", "octet", (("blksize", "512"),)).to_bytes()
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client,
        socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as raw,
    ):
        client.bind((host, 0))
        client.settimeout(PATIENCE_S)
        messages = [unreachable(code, server, client.getsockname()) for code in _CODES]

        def say(times: int) -> None:
            for _ in range(times):
                for message in messages:
                    raw.sendto(message, (server[0], 0))

        for _ in range(rounds):
            client.sendto(request, server)
            await_packet(client, b"\0\6blksize\x00512\0")
            say(1)
            client.sendto(ack(0), server)
            await_packet(client, b"\0\3\0\1the end")
            client.sendto(ack(1), server)
            say(5)


def test_what_the_network_says_of_a_peer_does_not_end_the_server(lab: Lab, tmp_path: Path) -> None:
    """On a shared port the supervisor reads the socket of a transfer that has ended, and what waits may be an error."""
    (tmp_path / "file").write_bytes(b"the end")
    with serving_on(lab, tmp_path, "--single-port") as server:
        lab.left.call(besiege, lab.left.address, server.address, 20)
        assert {record["result"] for record in server.await_transfers(20)} == {"complete"}
        lab.left.call(besiege, lab.left.address, server.address, 1)
        server.await_transfers(1)
        server.stop_and_check(tmp_path)


def answer_late(server: socket.socket) -> None:
    """For each code of ICMP "unreachable" but the port's: say it of a request, and see that another one comes."""
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as raw:
        for code in _CODES:
            _request, peer = server.recvfrom(1000)
            raw.sendto(unreachable(code, peer, server.getsockname()), (peer[0], 0))
    _request, peer = server.recvfrom(1000)
    server.sendto(b"\0\3\0\1the end", peer)


def test_a_client_asks_on_whatever_the_network_says_of_the_server(lab: Lab, tmp_path: Path) -> None:
    """Of a server that is starting a router says that it cannot be reached."""
    with udp_socket(lab.right) as server:
        url = "tftp://{}:{}/file".format(*server.getsockname())
        arguments = (url, "-o", tmp_path / "file", "-t", "0.05", "-r", "1000")
        with ClientProcess(get, *arguments, enter=lab.left.namespaces.enter) as client:
            lab.right.call(answer_late, server)
            assert client.wait() == 0, client.said()
    assert (tmp_path / "file").read_bytes() == b"the end"


@pytest.mark.parametrize(
    ("error", "retries", "reason"),
    [(errno.EHOSTUNREACH, "2", "no route to that host"), (errno.ENETUNREACH, "1000", "no route to that network")],
)
def test_who_cannot_be_reached_to_the_end_is_given_up_with_the_reason(
    lab: Lab, tmp_path: Path, error: int, retries: str, reason: str
) -> None:
    """At once where this machine has no route; else after the time that was meant."""
    url = f"tftp://{lab.right.address}/file"
    with cut(lab.left, lab.right, error):
        arguments = (url, "-o", tmp_path / "file", "-t", "0.05", "-r", retries)
        with ClientProcess(get, *arguments, enter=lab.left.namespaces.enter) as client:
            assert client.wait() == 7
            assert reason in client.said()
