from __future__ import annotations

import contextlib
import os
import resource
import select
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from blockstep.protocol.errors import LocalError
from blockstep.protocol.wire import Opcode, Request, ack_bytes
from blockstep_lab.conditions import Conditions
from blockstep_lab.endpoints import Address
from blockstep_lab.impairment import Impairment
from blockstep_lab.relay import Relay
from blockstep_lab.words import WordsError

RRQ = Request(Opcode.RRQ, "kernel", "octet").to_bytes()
FAMILIES = [socket.AF_INET, socket.AF_INET6]
LOOPBACKS = {socket.AF_INET: "127.0.0.1", socket.AF_INET6: "::1"}
PATIENCE_S = 10.0


def data(block: int, payload: bytes = b"payload") -> bytes:
    return b"\0\3" + (block & 0xFFFF).to_bytes(2, "big") + payload


class Peer:
    """A UDP socket with patience: a missing datagram fails the test instead of hanging it."""

    def __init__(self, family: socket.AddressFamily = socket.AF_INET) -> None:
        self.sock = socket.socket(family, socket.SOCK_DGRAM)
        self.sock.bind((LOOPBACKS[family], 0))
        self.sock.settimeout(PATIENCE_S)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self.address: Address = self.sock.getsockname()

    def send(self, packet: bytes, to: Address) -> None:
        self.sock.sendto(packet, to)

    def receive(self) -> tuple[bytes, Address]:
        packet, source = self.sock.recvfrom(65535)
        return packet, source

    def nothing_came(self) -> bool:
        return not select.select([self.sock], [], [], 0.05)[0]


@pytest.fixture
def sockets() -> Iterator[contextlib.ExitStack]:
    with contextlib.ExitStack() as stack:
        yield stack


def peer(stack: contextlib.ExitStack, family: socket.AddressFamily = socket.AF_INET) -> Peer:
    made = Peer(family)
    stack.callback(made.sock.close)
    return made


@pytest.mark.parametrize("family", FAMILIES)
def test_a_fresh_server_port_shows_as_a_fresh_relay_port(
    sockets: contextlib.ExitStack, family: socket.AddressFamily
) -> None:
    client, server, fresh = (peer(sockets, family) for _ in range(3))
    with Relay(server.address[:2], listen=(LOOPBACKS[family], 0)) as relay:
        client.send(RRQ, relay.address)
        request, seen_client = server.receive()
        assert request == RRQ
        fresh.send(data(1), seen_client)
        block, seen_fresh = client.receive()
        assert block == data(1)
        assert seen_fresh != relay.address
        client.send(ack_bytes(1), seen_fresh)
        assert fresh.receive() == (ack_bytes(1), seen_client)


def test_a_single_port_server_shows_as_the_listening_port(sockets: contextlib.ExitStack) -> None:
    client, server = peer(sockets), peer(sockets)
    with Relay(server.address[:2]) as relay:
        client.send(RRQ, relay.address)
        _, seen_client = server.receive()
        server.send(data(1), seen_client)
        assert client.receive() == (data(1), relay.address)


def test_each_client_has_its_own_port_at_the_server(sockets: contextlib.ExitStack) -> None:
    server, *clients = (peer(sockets) for _ in range(4))
    with Relay(server.address[:2]) as relay:
        seen = []
        for client in clients:
            client.send(RRQ, relay.address)
            seen.append(server.receive()[1])
            client.send(RRQ, relay.address)
            assert server.receive()[1] == seen[-1]
        assert len(set(seen)) == len(clients)
        for client, address in zip(clients, seen, strict=True):
            server.send(data(7), address)
            assert client.receive()[0] == data(7)


def test_a_foreign_client_port_shows_as_foreign_to_the_server(sockets: contextlib.ExitStack) -> None:
    client, stranger, server, fresh = (peer(sockets) for _ in range(4))
    with Relay(server.address[:2]) as relay:
        client.send(RRQ, relay.address)
        _, seen_client = server.receive()
        fresh.send(data(1), seen_client)
        _, transfer = client.receive()
        stranger.send(ack_bytes(1), transfer)
        packet, seen_stranger = fresh.receive()
        assert packet == ack_bytes(1)
        assert seen_stranger != seen_client


def test_datagrams_from_another_host_than_the_upstream_are_not_passed_on(sockets: contextlib.ExitStack) -> None:
    client, server = peer(sockets), peer(sockets)
    with Relay(server.address[:2]) as relay, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.2", 0))
        client.send(RRQ, relay.address)
        _, seen_client = server.receive()
        other.sendto(data(1), ("127.0.0.1", seen_client[1]))
        server.send(data(2), seen_client)
        assert client.receive()[0] == data(2)
        assert relay.report().troubles.strangers == 1


def test_one_seed_one_fate_in_the_relay_and_in_the_model(sockets: contextlib.ExitStack) -> None:
    words = "loss gemodel 2% 20% 90% 1% duplicate 2% corrupt 2%"
    client, server = peer(sockets), peer(sockets)
    model = Impairment(Conditions.parse(words), 99, "up")
    with Relay(server.address[:2], conditions_up=words, seed=99) as relay:
        for number in range(20_000):
            packet = number.to_bytes(4, "big") * 8
            client.send(packet, relay.address)
            for _, expected in model.admit(packet, 0.0):
                assert server.receive()[0] == expected, f"packet {number}"
        assert server.nothing_came()
        assert relay.stop().up.counters == model.counters


def test_rules_name_packets_in_both_directions(sockets: contextlib.ExitStack) -> None:
    client, server = peer(sockets), peer(sockets)
    with Relay(server.address[:2], rules=["drop RRQ once", "down duplicate DATA 2"]) as relay:
        client.send(RRQ, relay.address)
        client.send(RRQ, relay.address)
        _, seen_client = server.receive()
        assert server.nothing_came()
        for block in (1, 2, 3):
            server.send(data(block), seen_client)
        assert [client.receive()[0] for _ in range(4)] == [data(block) for block in (1, 2, 2, 3)]
        report = relay.report()
    assert report.rules == [("drop RRQ once", 1), ("down duplicate DATA 2", 1)]
    assert (report.up.counters.lost, report.down.counters.duplicated) == (1, 1)


def test_a_delay_is_kept_and_reported(sockets: contextlib.ExitStack) -> None:
    client, server = peer(sockets), peer(sockets)
    with Relay(server.address[:2], conditions_up="delay 25ms") as relay:
        for _ in range(5):
            start = time.monotonic()
            client.send(RRQ, relay.address)
            server.receive()
            assert time.monotonic() - start >= 0.025
        report = relay.report()
    assert report.up.delay_median_s is not None
    assert report.up.delay_median_s >= 0.025 * 0.97
    assert report.down.delay_median_s is None


def test_the_order_of_delivery_is_the_order_of_time(sockets: contextlib.ExitStack) -> None:
    client, server = peer(sockets), peer(sockets)
    words = "delay 60ms 50ms"
    model = Impairment(Conditions.parse(words), 5, "up")
    due = sorted((model.admit(bytes([number]), number)[0][0] - number, number) for number in range(20))
    with Relay(server.address[:2], conditions_up=words, seed=5) as relay:
        for number in range(20):
            client.send(bytes([number]), relay.address)
        order = [server.receive()[0][0] for _ in range(20)]
        assert relay.report().up.counters.reordered > 0
    # The datagrams left within a moment of each other; those due far apart must arrive in the order of the model.
    places = {number: place for place, number in enumerate(order)}
    for at, number in due:
        assert all(places[number] < places[later] for later_at, later in due if later_at > at + 0.040)


def test_conditions_and_rules_change_while_it_runs(sockets: contextlib.ExitStack) -> None:
    client, server = peer(sockets), peer(sockets)
    with Relay(server.address[:2], conditions_up="loss 100%") as relay:
        client.send(RRQ, relay.address)
        assert server.nothing_came()
        relay.change(up="")
        client.send(RRQ, relay.address)
        assert server.receive()[0] == RRQ
        relay.change(rules=["drop RRQ"])
        client.send(RRQ, relay.address)
        assert server.nothing_came()
        report = relay.report()
    assert report.up.conditions == ""
    assert report.up.counters.packets == 3
    assert report.rules == [("drop RRQ", 1)]


def test_the_number_of_clients_is_bounded(sockets: contextlib.ExitStack) -> None:
    server, *clients = (peer(sockets) for _ in range(5))
    with Relay(server.address[:2], most_ports=3) as relay:
        for client in clients:
            client.send(RRQ, relay.address)
        seen = {server.receive()[1] for _ in range(3)}
        assert len(seen) == 3
        assert server.nothing_came()
        assert relay.report().troubles.no_ports == 1


def test_idle_ports_are_given_back(sockets: contextlib.ExitStack) -> None:
    client, server = peer(sockets), peer(sockets)
    with Relay(server.address[:2], idle_s=0.05) as relay:
        client.send(RRQ, relay.address)
        _, first = server.receive()
        deadline = time.monotonic() + PATIENCE_S
        while _is_bound(first) and time.monotonic() < deadline:
            time.sleep(0.02)
        assert not _is_bound(first)
        client.send(RRQ, relay.address)
        assert server.receive()[0] == RRQ


def _is_bound(address: Address) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind(("0.0.0.0", address[1]))
        except OSError:
            return True
        return False


def test_largest_and_smallest_datagrams_pass(sockets: contextlib.ExitStack) -> None:
    client, server = peer(sockets), peer(sockets)
    with Relay(server.address[:2]) as relay:
        for packet in (b"", b"x", bytes(65_507)):
            client.send(packet, relay.address)
            assert server.receive()[0] == packet


def test_a_port_that_the_parent_closes_is_closed(sockets: contextlib.ExitStack) -> None:
    server = Peer()
    with Relay(server.address[:2]):
        server.sock.close()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as again:
            again.bind(server.address)


def test_it_runs_beside_more_than_a_thousand_descriptors(sockets: contextlib.ExitStack) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 2000:
        pytest.skip("fewer descriptors are allowed")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2000), hard))
    sockets.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
    client, server = peer(sockets), peer(sockets)
    for _ in range(1100):
        sockets.callback(os.close, os.dup(server.sock.fileno()))
    with Relay(server.address[:2]) as relay:
        client.send(RRQ, relay.address)
        assert server.receive()[0] == RRQ


def test_a_closed_server_port_disturbs_nobody(sockets: contextlib.ExitStack) -> None:
    client, gone = peer(sockets), Peer()
    gone.sock.close()
    with Relay(gone.address[:2]) as relay:
        for _ in range(3):
            client.send(RRQ, relay.address)
        deadline = time.monotonic() + PATIENCE_S
        while relay.report().up.counters.packets < 3:
            assert time.monotonic() < deadline


def test_stop_ends_the_process_and_keeps_the_report(sockets: contextlib.ExitStack) -> None:
    server = peer(sockets)
    relay = Relay(server.address[:2], seed=7)
    report = relay.stop()
    assert relay.stop() is report
    assert relay.report() is report
    assert report.seed == "7"
    with pytest.raises(ProcessLookupError):
        os.kill(relay.pid, 0)


def test_a_relay_whose_process_died_says_so(sockets: contextlib.ExitStack) -> None:
    relay = Relay(peer(sockets).address[:2])
    os.kill(relay.pid, 9)
    with pytest.raises(LocalError, match="the relay's process is gone"):
        relay.stop()


ORPHAN = """
import os, sys
from blockstep_lab.relay import Relay
relay = Relay(("127.0.0.1", 9))
print(relay.pid, flush=True)
os._exit(0)
"""


def test_a_relay_does_not_outlive_its_parent() -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", ORPHAN], capture_output=True, text=True, check=True, env=environment)
    assert done.stderr == ""
    deadline = time.monotonic() + PATIENCE_S
    while _is_running(int(done.stdout)):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"


@pytest.mark.parametrize(
    ("options", "message"),
    [({"conditions_up": "loss 200%"}, "the nearest is '100%'"), ({"rules": ["drpo DATA"]}, "did you mean 'drop'")],
)
def test_bad_words_start_nothing(options: dict[str, object], message: str) -> None:
    with pytest.raises(WordsError, match=message):
        Relay(("127.0.0.1", 9), **options)  # type: ignore[arg-type]


def test_an_address_in_use_is_an_error_at_once(sockets: contextlib.ExitStack) -> None:
    taken = peer(sockets)
    with pytest.raises(OSError, match="in use"):
        Relay(("127.0.0.1", 9), listen=taken.address[:2])
