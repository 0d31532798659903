"""One seed, one fate: the simulated network, the relay and the namespaces do the same to the same packets."""

from __future__ import annotations

import socket
from collections.abc import Callable
from itertools import pairwise

import pytest

from blockstep_lab.netns.lab import Lab
from blockstep_lab.relay import Relay
from blockstep_lab.simnet import Send, SimAddress, SimNet
from support.labs import PATIENCE_S, udp_socket

PACKETS = 20_000
BATCH = 100
SEED = 417
CONDITIONS = "loss gemodel 1% 20% 100% 0.5% duplicate 1% corrupt 1%"
PAYLOADS = [number.to_bytes(4, "big") * 10 for number in range(PACKETS)]


class Sink:
    """A node that keeps what arrives."""

    def __init__(self) -> None:
        self.received: list[bytes] = []

    def handle_datagram(self, data: bytes, source: SimAddress, now: float) -> None:
        self.received.append(data)

    def handle_deadline(self, now: float) -> None:
        raise AssertionError("there is none")

    def next_deadline(self) -> float | None:
        return None


def simulate() -> tuple[list[bytes], list[int]]:
    """What arrives, and how many have arrived after each batch."""
    net = SimNet(SEED, trace_limit=1)
    net.link("left", "right", up=CONDITIONS)
    sink = net.attach(("right", 1), lambda _: Sink())
    sends: list[Send] = []

    def keep(send: Send) -> Sink:
        sends.append(send)
        return Sink()

    net.attach(("left", 1), keep)
    arrived = [0]
    for start in range(0, PACKETS, BATCH):
        for payload in PAYLOADS[start : start + BATCH]:
            sends[0](payload, ("right", 1))
        net.run()
        arrived.append(len(sink.received))
    return sink.received, arrived


def carry(send: Callable[[bytes], object], receiver: socket.socket, arrived: list[int]) -> list[bytes]:
    """Sends batch after batch, each when all that should come of the last one has come: no buffer can overflow."""
    received: list[bytes] = []
    for number, (before, after) in enumerate(pairwise(arrived)):
        for payload in PAYLOADS[number * BATCH : (number + 1) * BATCH]:
            send(payload)
        received += [receiver.recv(2000) for _ in range(after - before)]
    return received


@pytest.mark.netns
@pytest.mark.parametrize("carrier", [None, "veth"])
def test_namespaces_do_what_the_simulation_does(carrier: str | None) -> None:
    expected, arrived = simulate()
    lab = Lab(CONDITIONS, seed=SEED, mend_checksums=True, carrier=carrier)
    with lab, udp_socket(lab.left) as sender, udp_socket(lab.right) as receiver:
        received = carry(lambda payload: sender.sendto(payload, receiver.getsockname()), receiver, arrived)
        checks = lab.checks()
    assert received == expected, f"seed {SEED}"
    counters = checks.left_to_right.counters
    assert counters.packets == PACKETS
    assert min(counters.lost, counters.duplicated, counters.corrupted) > 100
    assert checks.ring_drops == 0


def test_the_relay_does_what_the_simulation_does() -> None:
    expected, arrived = simulate()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        receiver.settimeout(PATIENCE_S)
        relay = Relay(receiver.getsockname(), conditions_up=CONDITIONS, seed=SEED)
        with relay, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            received = carry(lambda payload: sender.sendto(payload, relay.address), receiver, arrived)
    assert received == expected, f"seed {SEED}"
