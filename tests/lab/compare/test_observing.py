from __future__ import annotations

import hashlib
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blockstep.protocol.arena import Arena
from blockstep.protocol.numbers import Numbering
from blockstep_lab.compare import observing
from blockstep_lab.compare.observing import (
    Curve,
    MemorySource,
    ObservedEndpoint,
    ObservedSink,
    TcpObserver,
    cpu_s,
    device_counts,
    tcp_resends,
)


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_short_curve_is_kept_as_it_is() -> None:
    curve = Curve()
    for value in range(5):
        curve.add(10 + value / 2, value)
    assert curve.thinned(100, 10.0) == ((0.0, 0), (0.5, 1), (1.0, 2), (1.5, 3), (2.0, 4))
    assert Curve().thinned(100, 0.0) == ()


@given(st.integers(1, 5000), st.integers(4, 64), st.integers(2, 50))
def test_a_long_curve_stays_small_in_order_and_covers_all_of_its_time(count: int, limit: int, most: int) -> None:
    curve = Curve(limit)
    for value in range(count):
        curve.add(float(value), value)
    assert len(curve.points) < limit
    points = curve.thinned(most, 0.0)
    assert len(points) <= most + 1
    assert list(points) == sorted(points)
    assert all(at_s == value for at_s, value in points)
    assert points[-1][1] >= count - max(2, 2 * count // limit + 1) or not points


def test_a_sink_knows_when_bytes_came_and_when_none_did() -> None:
    clock = Clock()
    sink = ObservedSink(clock)
    for at, data in ((101.0, b"ab"), (101.5, b"cd"), (104.0, b"ef"), (104.1, b"g")):
        clock.now = at
        sink.writev([memoryview(data[:1]), memoryview(data[1:])])
    clock.now = 105.0
    sink.commit()
    sink.abort()
    assert bytes(sink.content) == b"abcdefg"
    assert (sink.bytes_written, sink.first_at, sink.last_at, sink.committed_at) == (7, 101.0, 104.1, 105.0)
    assert sink.longest_stall_s == 2.5
    assert sink.sha256() == hashlib.sha256(b"abcdefg").hexdigest()
    assert sink.curve.points[-1] == (104.1, 7)


@given(st.binary(max_size=100), st.integers(1, 7), st.integers(1, 5))
def test_a_source_in_memory_is_read_as_a_file_is(content: bytes, length: int, count: int) -> None:
    source = MemorySource(content)
    assert source.size_bytes == len(content)
    found = b""
    while True:
        memory = bytearray(length * count)
        views = [memoryview(memory)[at : at + length] for at in range(0, len(memory), length)]
        got = source.readv(views)
        found += memory[:got]
        if got < len(memory):
            break
    source.close()
    assert found == content


@pytest.fixture
def endpoint() -> Iterator[ObservedEndpoint]:
    receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    receiver.bind(("127.0.0.1", 0))
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.connect(receiver.getsockname())
    found = ObservedEndpoint(sock, blksize=8, clock=Clock())
    found.prepare_to_send(12, 4)
    yield found
    found.close()
    receiver.close()


def send_blocks(endpoint: ObservedEndpoint, first: int, count: int) -> None:
    arena = Arena(count, 8)
    arena.stamp(0, first, count, Numbering(0))
    endpoint.send_burst(arena.view, 0, count * arena.stride)


def test_an_endpoint_marks_the_blocks_that_go_out_again(endpoint: ObservedEndpoint) -> None:
    for first, count in ((1, 4), (3, 4), (7, 2), (5, 2)):
        send_blocks(endpoint, first, count)
    assert endpoint.resent_blocks == 2 + 2
    assert endpoint.resends.points == [(100.0, 16), (100.0, 32)]


def test_block_numbers_that_wrap_are_no_resends(endpoint: ObservedEndpoint) -> None:
    for first in range(1, 66_000, 64):
        send_blocks(endpoint, first, 64)
    assert endpoint.resent_blocks == 0
    send_blocks(endpoint, 65_990, 4)
    assert endpoint.resends.points == [(100.0, 65_989 * 8)]


def test_the_kernel_counts_what_tcp_sends_again() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()) as sock:
        assert tcp_resends(sock) == 0
        watch = TcpObserver(sock)
        time.sleep(0.02)
        watch.stop()
        assert watch.resends.points == []
    assert tcp_resends(sock) is None


def test_an_observer_notes_each_growth_and_ends_with_its_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    said = iter([(0, 10), (0, 20), (2, 30), (2, 40), (3, 50)])
    monkeypatch.setattr(observing, "_tcp_info", lambda _sock: next(said, None))
    with socket.socket() as sock:
        watch = TcpObserver(sock, Clock())
        watch._thread.join(5)
        watch.stop()
    assert watch.resends.points == [(100.0, 30), (100.0, 50)]


def test_devices_are_counted_without_ethernets_header(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "Inter-|\n face |\n  lab0: 100 2 0 0 0 0 0 0 5028 3 0 0 0 0 0 0\n"
    monkeypatch.setattr(Path, "read_text", lambda _path: text)
    assert device_counts("lab0", has_ethernet=False) == (5028, 3)
    assert device_counts("lab0", has_ethernet=True) == (5028 - 42, 3)
    assert device_counts("eth9", has_ethernet=True) == (0, 0)


def test_work_costs_time() -> None:
    before = cpu_s()
    while cpu_s() < before + 0.01:
        hashlib.sha256(bytes(100_000))
    assert cpu_s() >= before + 0.01
