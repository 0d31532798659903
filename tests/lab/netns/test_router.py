from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from blockstep.transport.pcapng_writer import PcapngWriter
from blockstep_lab.conditions import Conditions
from blockstep_lab.netns.packets import UDP
from blockstep_lab.netns.ports import TunPort
from blockstep_lab.netns.router import LinkSetup, Router
from blockstep_lab.rules import Rule
from blockstep_lab.trace.capture import read_capture
from support.ip_packets import LEFT, RIGHT, ipv4, udp

RRQ = b"\0\1file\0octet\0"


def link(up: str = "", down: str = "", *rules: str, seed: str = "7") -> LinkSetup:
    return LinkSetup(Conditions.parse(up), Conditions.parse(down), seed, [Rule.parse(rule) for rule in rules])


class Bench:
    """A router between two hosts that are sockets in this process."""

    def __init__(self, setup: LinkSetup, capture: PcapngWriter | None = None) -> None:
        self.hosts, self.ports = [], []
        for _ in range(2):
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            os.set_blocking(ours.fileno(), False)
            theirs.setblocking(False)
            self.hosts.append(theirs)
            self.ports.append(TunPort(ours.detach()))
        self.left, self.right = self.hosts
        self.router = Router({LEFT: self.ports[0]}, {RIGHT: self.ports[1]}, setup, capture=capture)

    def turns(self, seconds: float = 0.0) -> None:
        """Lets the router work until it has nothing to do for now, or for some time."""
        until = time.monotonic() + seconds
        self.router.turn(0.0)
        while time.monotonic() < until:
            self.router.turn(until - time.monotonic())
        self.router.turn(0.0)


@contextmanager
def bench(setup: LinkSetup, capture: PcapngWriter | None = None) -> Iterator[Bench]:
    made = Bench(setup, capture)
    try:
        yield made
    finally:
        for host in made.hosts:
            host.close()
        for port in made.ports:
            port.close()


def received(host: socket.socket) -> list[bytes]:
    found = []
    while True:
        try:
            found.append(host.recv(2000))
        except BlockingIOError:
            return found


def test_packets_go_to_whom_they_are_for() -> None:
    with bench(link()) as at:
        there, back = ipv4(UDP, udp(b"there")), ipv4(UDP, udp(b"back"), to_left=True)
        at.left.send(there)
        at.right.send(back)
        at.turns()
        assert (received(at.right), received(at.left)) == ([there], [back])


def test_what_is_for_nobody_meets_no_model() -> None:
    with bench(link("loss 100%")) as at:
        at.left.send(b"\x60" + bytes(39))
        at.left.send(b"short")
        at.left.send(ipv4(UDP, udp(b"x"))[:16] + socket.inet_aton("224.0.0.22") + udp(b"x"))
        at.turns()
        report = at.router.report()
        assert (report.strangers, report.up.counters.packets) == (3, 0)


def test_a_packet_is_not_early_and_its_lateness_is_told() -> None:
    with bench(link("delay 30ms")) as at:
        begun = time.monotonic()
        at.left.send(ipv4(UDP, udp(b"x")))
        at.turns()
        assert at.router.report().under_way == 1
        while not (got := received(at.right)):
            at.router.turn(0.01)
        assert time.monotonic() - begun >= 0.030
        report = at.router.report()
        assert (len(got), report.under_way, report.up.counters.delivered) == (1, 0, 1)
        assert 0 <= report.up.late_p50_s <= report.up.late_most_s + 1e-3


def test_equal_times_keep_their_order() -> None:
    with bench(link("delay 5ms")) as at:
        sent = [ipv4(UDP, udp(bytes([number]))) for number in range(100)]
        for packet in sent:
            at.left.send(packet)
        came: list[bytes] = []
        until = time.monotonic() + 30
        while len(came) < len(sent) and time.monotonic() < until:
            at.router.turn(0.01)
            came += received(at.right)
        assert came == sent


def test_a_change_starts_the_fates_again() -> None:
    words = "loss 50%"
    with bench(link(words)) as at:
        outcomes = []
        for _ in range(2):
            at.router.change(link(words, seed="9"))
            for number in range(60):
                at.left.send(ipv4(UDP, udp(bytes([number]))))
            at.turns()
            outcomes.append(received(at.right))
            assert at.router.report().up.counters.packets == 60
        assert outcomes[0] == outcomes[1]
        assert 0 < len(outcomes[0]) < 60


def test_a_host_that_takes_nothing_is_told_and_not_waited_for() -> None:
    with bench(link()) as at:
        at.right.close()
        at.left.send(ipv4(UDP, udp(b"x")))
        at.turns()
        assert at.router.report().send_errors == 1


def test_rules_are_counted() -> None:
    with bench(link("", "", "up drop RRQ first")) as at:
        for _ in range(2):
            at.left.send(ipv4(UDP, udp(RRQ)))
        at.turns()
        assert len(received(at.right)) == 1
        assert at.router.report().rules == [("up drop RRQ first", 1)]


def test_the_capture_has_what_entered_and_what_was_lost(tmp_path: Path) -> None:
    path = tmp_path / "link.pcapng"
    with bench(link("", "", "up drop RRQ first"), PcapngWriter(path)) as at:
        for _ in range(2):
            at.left.send(ipv4(UDP, udp(RRQ, source=5000, destination=69)))
        at.turns()
        at.router.stop()
        at.router.run()
    with path.open("rb") as stream:
        (transfer,) = read_capture(stream).transfers
    assert [bool(packet.lost) for packet in transfer.packets] == [True, False]


def test_a_stopped_router_comes_back_from_run() -> None:
    with bench(link()) as at:
        at.router.watch(at.left.fileno(), at.router.stop)
        at.router.stop()
        at.router.run()
