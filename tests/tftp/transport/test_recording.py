from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from blockstep.protocol.errors import TransferFailed
from blockstep.protocol.wire import ErrorPacket, ack_bytes
from blockstep.transport.pcapng_writer import PcapngWriter
from blockstep.transport.recording import Recorder, RecordingEndpoint, endpoint_for
from blockstep.transport.udp import RECEIVE_BYTES, Endpoint
from support.captured import datagrams_in, said_in

STRIDE = 100
BURST = b"".join(bytes([number]) * STRIDE for number in range(5)) + b"last"
SEGMENTS = [BURST[start : start + STRIDE] for start in range(0, len(BURST), STRIDE)]


@pytest.fixture
def peer() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.settimeout(10)
        yield sock


@pytest.fixture
def capture(tmp_path: Path) -> Path:
    return tmp_path / "x.pcapng"


@pytest.fixture
def recorder(capture: Path) -> Iterator[Recorder]:
    with PcapngWriter(capture) as writer:
        yield Recorder(writer, clock_ns=lambda: 10**18)


def endpoint_to(peer: socket.socket, recorder: Recorder) -> RecordingEndpoint:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.connect(peer.getsockname())
    return RecordingEndpoint(sock, recorder=recorder)


@pytest.mark.parametrize("offload", [True, False])
def test_a_burst_is_recorded_as_the_datagrams_that_arrive(
    offload: bool, peer: socket.socket, recorder: Recorder, capture: Path
) -> None:
    with closing(endpoint_to(peer, recorder)) as endpoint:
        endpoint.prepare_to_send(STRIDE, 16)
        if not offload:
            endpoint.max_segments = 1
        endpoint.send_burst(memoryview(b"ahead" + BURST), 5, 5 + len(BURST))
        here = endpoint.sock.getsockname()
    arrived = [peer.recv(RECEIVE_BYTES) for _ in SEGMENTS]
    assert arrived == SEGMENTS
    assert datagrams_in(capture) == [(here, peer.getsockname(), segment) for segment in SEGMENTS]


def test_one_segment_is_recorded_once(peer: socket.socket, recorder: Recorder, capture: Path) -> None:
    with closing(endpoint_to(peer, recorder)) as endpoint:
        endpoint.prepare_to_send(STRIDE, 16)
        endpoint.send_burst(memoryview(BURST), 0, STRIDE)
        endpoint.send(b"ack")
    assert [payload for *_, payload in datagrams_in(capture)] == [SEGMENTS[0], b"ack"]


def test_a_received_burst_is_recorded_as_the_datagrams_that_were_sent(
    peer: socket.socket, recorder: Recorder, capture: Path
) -> None:
    with closing(endpoint_to(peer, recorder)) as endpoint, peer.dup() as dup:
        endpoint.prepare_to_receive(STRIDE, 16)
        here = endpoint.sock.getsockname()
        dup.connect(here)
        with closing(Endpoint(dup)) as sender:
            sender.prepare_to_send(STRIDE, 16)
            sender.send_burst(memoryview(BURST), 0, len(BURST))
        memory, got = bytearray(RECEIVE_BYTES), 0
        while got < len(BURST):
            got += max(endpoint.receive(memory, 5.0)[0], 0)
    assert datagrams_in(capture) == [(peer.getsockname(), here, segment) for segment in SEGMENTS]


def test_an_empty_datagram_is_one_too(peer: socket.socket, recorder: Recorder, capture: Path) -> None:
    with closing(endpoint_to(peer, recorder)) as endpoint:
        peer.sendto(b"", endpoint.sock.getsockname())
        assert endpoint.receive(bytearray(10), 5.0) == (0, 0)
    assert [payload for *_, payload in datagrams_in(capture)] == [b""]


def test_what_could_not_be_sent_was_still_said(recorder: Recorder, capture: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as gone:
        gone.bind(("127.0.0.1", 0))
        endpoint = endpoint_to(gone, recorder)
    with closing(endpoint):
        endpoint.send(ack_bytes(1))
        with pytest.raises(TransferFailed):
            endpoint.send(ack_bytes(2))
    assert said_in(capture) == ["ACK 1", "ACK 2"]


def test_strays_and_what_they_are_told(peer: socket.socket, recorder: Recorder, capture: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        stray, hot = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
        for sock in (stray, hot):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        stray.bind(("127.0.0.1", 0))
        hot.bind(stray.getsockname())
        hot.connect(peer.getsockname())
        with closing(endpoint_for(hot, stray, recorder)) as endpoint:
            for packet in (ack_bytes(7), ErrorPacket(0, "no").to_bytes()):
                stranger.sendto(packet, hot.getsockname())
                endpoint.receive(bytearray(100), 0.05)
            assert endpoint.strays == 2
    assert said_in(capture) == ["ACK 7", "ERROR 5 unknown transfer ID", "ERROR 0 no"]


def test_a_socket_on_every_address_is_recorded_with_the_one_it_uses(
    peer: socket.socket, recorder: Recorder, capture: Path
) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.bind(("", 0))
        recorder.sent(asking, peer.getsockname(), b"question")
        recorder.received(asking, peer.getsockname(), b"answer")
        recorder.writer.flush()
        here = "127.0.0.1", asking.getsockname()[1]
    there = peer.getsockname()
    assert datagrams_in(capture) == [(here, there, b"question"), (there, here, b"answer")]


def test_without_a_recorder_there_is_nothing_to_pay_for() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect(("127.0.0.1", 9))
        with closing(endpoint_for(sock)) as endpoint:
            assert type(endpoint) is Endpoint
