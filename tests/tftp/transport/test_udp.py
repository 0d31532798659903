from __future__ import annotations

import contextlib
import errno
import fcntl
import socket
import time
from collections.abc import Iterator

import pytest

from blockstep.protocol.errors import End, TransferFailed
from blockstep.protocol.wire import ErrorPacket, ack_bytes
from blockstep.transport.udp import LARGEST_BURST, NEVER_NS, RECEIVE_BYTES, STRAYS_ANSWERED, Endpoint
from support.loopback import has_offload, pair

offload = pytest.mark.skipif(not has_offload(), reason="this kernel has no UDP_SEGMENT and UDP_GRO")
# asm-generic/socket.h: a socket that sends without checksums, which the kernel refuses to cut (EINVAL)
SO_NO_CHECK = 11
UNKNOWN_TID = ErrorPacket(5, "unknown transfer ID").to_bytes()

Sockets = tuple[socket.socket, socket.socket]


@pytest.fixture
def sockets() -> Iterator[Sockets]:
    with pair() as both:
        yield both


def burst_of(count: int, stride: int, last: int = 0) -> bytes:
    """`count` segments, no two alike, the last one shorter by `last`."""
    whole = b"".join(bytes([number]) * stride for number in range(count))
    return whole[: len(whole) - last]


def arrived(endpoint: Endpoint, size: int) -> bytes:
    """Everything until `size` bytes are there."""
    memory, got = bytearray(RECEIVE_BYTES), b""
    while len(got) < size:
        count, _stride = endpoint.receive(memory, 10)
        assert count >= 0, "nothing came any more"
        got += memory[:count]
    return got


def send_in_bursts(endpoint: Endpoint, data: bytes, stride: int) -> None:
    step = endpoint.max_segments * stride
    for start in range(0, len(data), step):
        endpoint.send_burst(memoryview(data), start, min(start + step, len(data)))


# Bursts.


@offload
def test_a_window_of_64_blocks_is_two_calls_each_way(sockets: Sockets) -> None:
    out, into = Endpoint(sockets[0]), Endpoint(sockets[1])
    out.prepare_to_send(1432, 64)
    into.prepare_to_receive(1432, 64)
    data = burst_of(64, 1432)
    send_in_bursts(out, data, 1432)
    assert arrived(into, len(data)) == data
    assert (out.calls_out, into.calls_in) == (2, 2)


@pytest.mark.parametrize(("out_offload", "in_offload"), [(False, False), (True, False), (False, True)])
def test_without_offload_the_same_bytes_take_a_call_for_each_segment(
    sockets: Sockets, out_offload: bool, in_offload: bool
) -> None:
    out, into = Endpoint(sockets[0], offload=out_offload), Endpoint(sockets[1], offload=in_offload)
    out.prepare_to_send(1432, 64)
    into.prepare_to_receive(1432, 64)
    data = burst_of(64, 1432, last=1000)
    send_in_bursts(out, data, 1432)
    assert arrived(into, len(data)) == data
    assert into.calls_in == 64
    assert out.calls_out == (2 if out_offload and has_offload() else 64)


@offload
def test_a_path_that_cannot_cut_gets_this_burst_and_all_others_in_segments(sockets: Sockets) -> None:
    sockets[0].setsockopt(socket.SOL_SOCKET, SO_NO_CHECK, 1)  # the kernel then answers UDP_SEGMENT with EINVAL
    out, into = Endpoint(sockets[0]), Endpoint(sockets[1])
    out.prepare_to_send(512, 16)
    assert out.max_segments > 1
    data = burst_of(16, 512, last=100)
    send_in_bursts(out, data, 512)
    assert arrived(into, len(data)) == data
    assert out.max_segments == 1
    send_in_bursts(out, data, 512)
    assert arrived(into, len(data)) == data
    assert out.calls_out == 1 + 16 + 16


@offload
@pytest.mark.parametrize(
    ("count", "stride", "last"), [(1, 12, 0), (2, 12, 11), (64, 12, 0), (45, 1432, 3), (2, 32004, 7)]
)
def test_the_stride_of_a_burst_arrives_with_it(sockets: Sockets, count: int, stride: int, last: int) -> None:
    out, into = Endpoint(sockets[0]), Endpoint(sockets[1])
    out.prepare_to_send(stride, 64)
    into.prepare_to_receive(stride, 64)
    data = burst_of(count, stride, last)
    send_in_bursts(out, data, stride)
    memory = bytearray(RECEIVE_BYTES)
    assert into.receive(memory, 10) == (len(data), stride if count > 1 else len(data))
    assert memory[: len(data)] == data


@pytest.mark.parametrize("stride", [12, 516, 1432, 8196, 65468])
def test_no_burst_is_larger_than_the_kernel_takes(sockets: Sockets, stride: int) -> None:
    out = Endpoint(sockets[0])
    out.prepare_to_send(stride, 64)
    assert 1 <= out.max_segments <= LARGEST_BURST
    assert out.max_segments * stride <= 65507 or out.max_segments == 1
    out.send_burst(memoryview(bytes(out.max_segments * stride)), 0, out.max_segments * stride)
    assert out.calls_out == 1


def test_lock_step_needs_no_offload(sockets: Sockets) -> None:
    out = Endpoint(sockets[0])
    out.prepare_to_send(516, 1)
    assert out.max_segments == 1


def test_the_buffers_hold_a_window(sockets: Sockets) -> None:
    for sock, endpoint in zip(sockets, map(Endpoint, sockets), strict=True):
        before = sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
        endpoint.prepare_to_receive(516, 8)
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) >= before, "a buffer never gets smaller"


# Waiting.


@pytest.mark.parametrize("wait_s", [-1.0, 0.0, 0.001, 0.02])
def test_a_wait_without_a_datagram_ends(sockets: Sockets, wait_s: float) -> None:
    endpoint = Endpoint(sockets[0])
    started_at = time.monotonic()
    assert endpoint.receive(bytearray(RECEIVE_BYTES), wait_s) == (-1, 0)
    assert time.monotonic() - started_at >= wait_s


def test_what_is_there_is_received_without_a_wait(sockets: Sockets) -> None:
    endpoint = Endpoint(sockets[0])
    memory = bytearray(RECEIVE_BYTES)
    for wait_s in (-1.0, 0.0, 0.001, 5.0):
        sockets[1].send(ack_bytes(7))
        assert endpoint.receive(memory, wait_s) == (4, 4)
        assert memory[:4] == ack_bytes(7)


def test_an_empty_datagram_is_one(sockets: Sockets) -> None:
    endpoint = Endpoint(sockets[0])
    sockets[1].send(b"")
    assert endpoint.receive(bytearray(RECEIVE_BYTES), 10) == (0, 0)


# Closed ports and strays.


def test_a_closed_port_is_known_at_once(sockets: Sockets) -> None:
    endpoint = Endpoint(sockets[0])
    sockets[1].close()
    endpoint.send(b"anybody?")
    started_at = time.monotonic()
    with pytest.raises(TransferFailed) as caught:
        endpoint.receive(bytearray(RECEIVE_BYTES), 60)
    assert caught.value.end is End.PEER_GONE
    assert time.monotonic() - started_at < 10


@pytest.mark.parametrize("finds_out_by", ["sending", "receiving"])
def test_what_a_peer_said_before_it_closed_its_port_comes_first(sockets: Sockets, finds_out_by: str) -> None:
    """The kernel reports the closed port before it hands out the ERROR that came earlier."""
    endpoint, memory = Endpoint(sockets[0]), bytearray(RECEIVE_BYTES)
    sockets[1].send(UNKNOWN_TID)
    sockets[1].close()
    endpoint.send(b"block 1")
    if finds_out_by == "sending":
        endpoint.send(b"block 2")
    got = -1
    while got < 0:
        got, _stride = endpoint.receive(memory, 10)
    assert memory[:got] == UNKNOWN_TID
    endpoint.send(b"block 3")
    with pytest.raises(TransferFailed, match="closed"):
        endpoint.send(b"block 4")


def test_a_closed_port_is_known_to_the_sender_too(sockets: Sockets) -> None:
    endpoint = Endpoint(sockets[0], offload=False)
    endpoint.prepare_to_send(12, 4)
    sockets[1].close()
    with pytest.raises(TransferFailed, match="closed"):
        endpoint.send_burst(memoryview(burst_of(4, 12)), 0, 48)


@pytest.fixture
def strangers(sockets: Sockets) -> Iterator[tuple[Endpoint, socket.socket, socket.socket]]:
    """An endpoint that listens for strays, its peer, and somebody else who knows its port for them."""
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stray_sock,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger,
    ):
        stray_sock.bind(("127.0.0.1", 0))
        stranger.bind(("127.0.0.1", 0))
        stranger.connect(stray_sock.getsockname())
        stranger.settimeout(10)
        endpoint = Endpoint(sockets[0], stray_sock)
        yield endpoint, sockets[1], stranger
        endpoint.close()


Strangers = tuple[Endpoint, socket.socket, socket.socket]


@pytest.mark.parametrize("packet", [ack_bytes(1), b"\0\3\0\1data", b"", b"\0", b"rubbish"])
def test_a_stray_is_answered_and_never_seen(strangers: Strangers, packet: bytes) -> None:
    endpoint, peer, stranger = strangers
    stranger.send(packet)
    endpoint.answer_strays()
    assert stranger.recv(100) == UNKNOWN_TID
    peer.send(ack_bytes(1))
    memory = bytearray(RECEIVE_BYTES)
    assert endpoint.receive(memory, 10) == (4, 4)
    assert endpoint.strays == 1


def test_strays_are_answered_while_waiting(strangers: Strangers) -> None:
    endpoint, _peer, stranger = strangers
    stranger.send(ack_bytes(1))
    assert endpoint.receive(bytearray(RECEIVE_BYTES), 0.02) == (-1, 0)
    assert stranger.recv(100) == UNKNOWN_TID


def test_an_error_is_never_answered_with_an_error(strangers: Strangers) -> None:
    endpoint, _peer, stranger = strangers
    stranger.send(UNKNOWN_TID)
    stranger.send(ack_bytes(1))
    endpoint.answer_strays()
    assert stranger.recv(100) == UNKNOWN_TID
    stranger.setblocking(False)
    with pytest.raises(BlockingIOError):
        stranger.recv(100)


def test_a_flood_of_strays_is_not_answered_for_ever(strangers: Strangers) -> None:
    endpoint, _peer, stranger = strangers
    answers = 0
    stranger.setblocking(False)
    for _ in range(STRAYS_ANSWERED + 20):
        stranger.send(ack_bytes(1))
        endpoint.answer_strays()
        with contextlib.suppress(BlockingIOError):
            answers += stranger.recv(100) == UNKNOWN_TID
    assert answers == STRAYS_ANSWERED
    assert endpoint.strays == STRAYS_ANSWERED + 20


def test_the_peer_is_no_stray() -> None:
    # What it said before our connected socket was there waits at the other one.
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock,
    ):
        peer.bind(("127.0.0.1", 0))
        asking.bind(("127.0.0.1", 0))
        sock.bind(("127.0.0.1", 0))
        sock.connect(peer.getsockname())
        endpoint = Endpoint(sock, asking)
        peer.sendto(ack_bytes(0), asking.getsockname())
        endpoint.answer_strays()
        peer.setblocking(False)
        with pytest.raises(BlockingIOError):
            peer.recv(100)
        assert endpoint.strays == 0


def test_closing_twice_is_once(sockets: Sockets) -> None:
    endpoint = Endpoint(sockets[0])
    endpoint.close()
    endpoint.close()
    assert sockets[0].fileno() == -1


def test_when_a_datagram_came_is_the_kernel_s_word(sockets: Sockets) -> None:
    """And not when it was read. It begins a moment after the first call to take note."""
    ours, peer = sockets
    with contextlib.closing(Endpoint(ours)) as endpoint:
        assert endpoint.arrived_ns() == 0
        until = time.monotonic() + 30
        while not _is_noted_before_it_is_read(endpoint, peer):
            assert time.monotonic() < until
        first = endpoint.arrived_ns()
        assert _is_noted_before_it_is_read(endpoint, peer)
        assert endpoint.arrived_ns() > first > 0


def _is_noted_before_it_is_read(endpoint: Endpoint, peer: socket.socket) -> bool:
    peer.send(b"datagram")
    sent_ns = time.time_ns()
    time.sleep(0.001)
    assert arrived(endpoint, 8) == b"datagram"
    return endpoint.arrived_ns() <= sent_ns


def test_a_system_that_does_not_say_when_a_datagram_came(sockets: Sockets, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOTTY, "no such thing")

    monkeypatch.setattr(fcntl, "ioctl", refuse)
    with contextlib.closing(Endpoint(sockets[0])) as endpoint:
        assert endpoint.arrived_ns() == NEVER_NS
