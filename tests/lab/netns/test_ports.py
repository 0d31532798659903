from __future__ import annotations

import os
import socket

import pytest

from blockstep_lab.netns.lab import Lab
from blockstep_lab.netns.ports import TunPort
from support.labs import udp_socket

BURST = 500


def test_a_port_gives_packets_until_there_is_none() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    os.set_blocking(ours.fileno(), False)
    with theirs:
        port = TunPort(ours.detach())
        for packet in (b"one", b"two"):
            theirs.send(packet)
        assert [port.maybe_read() for _ in range(3)] == [b"one", b"two", None]
        port.write(b"back")
        assert theirs.recv(100) == b"back"
        assert (port.read, port.written, port.drops()) == (2, 1, 0)
        port.close()


@pytest.mark.netns
@pytest.mark.parametrize("carrier", ["tun", "veth"])
@pytest.mark.parametrize("mtu", [1500, 9000])
def test_packets_of_every_size_pass_as_they_are(carrier: str, mtu: int) -> None:
    if carrier == "tun" and not os.access("/dev/net/tun", os.W_OK):
        pytest.skip("/dev/net/tun may not be opened by this user")
    with Lab(carrier=carrier, mtu=mtu) as lab, udp_socket(lab.left) as here, udp_socket(lab.right) as there:
        for size in (0, 1, 511, mtu - 28, mtu, 3 * mtu):  # the last two in fragments
            sent = os.urandom(size)
            here.sendto(sent, there.getsockname())
            assert there.recv(65535) == sent
        checks = lab.checks()
        checks.late_p99_limit_s = float("inf")  # of six packets one may be late, on a busy machine
        assert checks.ok, checks.failures()
        assert checks.strangers == 0


@pytest.mark.netns
def test_the_ring_of_a_packet_port_goes_round() -> None:
    with Lab(carrier="veth") as lab, udp_socket(lab.left) as here, udp_socket(lab.right) as there:
        for batch in range(20):  # 10,000 packets through 8,192 frames
            for number in range(BURST):
                here.sendto((batch * BURST + number).to_bytes(4, "big"), there.getsockname())
            got = [int.from_bytes(there.recv(10), "big") for _ in range(BURST)]
            assert got == list(range(batch * BURST, (batch + 1) * BURST))
        assert lab.checks().ring_drops == 0
