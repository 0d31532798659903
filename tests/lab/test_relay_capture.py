from __future__ import annotations

import io
import socket
from contextlib import ExitStack
from pathlib import Path

import pytest

from blockstep.protocol.wire import Data, Opcode, Request, ack_bytes
from blockstep_lab.relay import Relay
from blockstep_lab.trace.capture import read_capture
from blockstep_lab.trace.ip import DatagramReader
from blockstep_lab.trace.reader import CaptureReader, read_frames
from support.captured import said_in

REQUEST = Request(Opcode.RRQ, "kernel", "octet").to_bytes()


def bound(host: str = "127.0.0.1") -> socket.socket:
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((host, 0))
    sock.settimeout(10)
    return sock


def comments_in(path: Path) -> list[str]:
    reader = DatagramReader()
    frames = read_frames(io.BytesIO(path.read_bytes()), CaptureReader())
    return [datagram.comment for frame in frames if (datagram := reader.maybe_datagram(frame)) is not None]


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_transfer_is_seen_as_the_client_sees_it(host: str, tmp_path: Path) -> None:
    path = tmp_path / "x.pcapng"
    with bound(host) as listener, bound(host) as server, bound(host) as client:
        with Relay(listener.getsockname()[:2], listen=(host, 0), pcap=path) as relay:
            client.sendto(REQUEST, relay.address)
            request, back = listener.recvfrom(600)
            assert request == REQUEST
            server.sendto(Data(1, memoryview(b"abc")).to_bytes(), back)
            _, front = client.recvfrom(600)
            client.sendto(ack_bytes(1), front)
            server.recvfrom(600)
        here = client.getsockname()[:2]
        with path.open("rb") as stream:
            (transfer,) = read_capture(stream).transfers
        assert (transfer.client, transfer.asked, transfer.peer) == (here, relay.address[:2], front[:2])
    assert said_in(path) == ["RRQ 'kernel' octet", "DATA 1 (3)", "ACK 1"]


def test_comments_tell_the_fate(tmp_path: Path) -> None:
    path = tmp_path / "x.pcapng"
    rules = ["drop ACK 1", "duplicate ACK 2", "corrupt ACK 3"]
    with bound() as server, bound() as client, ExitStack() as stack:
        slow = "rate 8kbit limit 3"
        relay = stack.enter_context(Relay(server.getsockname(), rules=rules, pcap=path, conditions_up=slow))
        for number in (1, 2, 3, 4):
            client.sendto(ack_bytes(number), relay.address)
        assert len([server.recv(600) for _ in range(3)]) == 3
    assert said_in(path) == ["ACK 1", "ACK 2", "ACK 3", "ACK 4"]
    assert comments_in(path) == [
        "lost: by the link",
        "delivered twice by the link",
        "damaged by the link",
        "lost: the link's queue was full",
    ]


def test_a_full_disk_is_reported_and_stops_nothing() -> None:
    with bound() as server, bound() as client, Relay(server.getsockname(), pcap="/dev/full") as relay:
        for number in range(3):
            client.sendto(ack_bytes(number), relay.address)
            server.recv(600)
        report = relay.stop()
    assert report.troubles.unrecorded == 3
    assert "warning: the disk took no more, so not in the capture: 3 packets" in report.to_table()
