"""From an IP packet to a datagram, or to nothing."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blockstep_lab.trace.frames import Frame
from blockstep_lab.trace.ip import DatagramReader
from support.capture_bytes import ETHERNET, PAYLOAD, V4, datagram, ipv4, ipv6, udp


def test_frames_left_out_are_counted_by_reason() -> None:
    reader = DatagramReader()
    for data in (ipv4(udp(), protocol=6), ipv4(udp(), protocol=6), b"\x90"):
        assert reader.maybe_datagram(Frame(1, 0, 101, data, len(data))) is None
    assert reader.skipped == {"not UDP": 2, "damaged IP": 1}


def test_ip_options_padding_and_offload() -> None:
    for packet in (ipv4(udp(), options=bytes(8)), ipv4(udp()) + bytes(18), ipv4(udp(), total=0)):
        found = datagram(packet)
        assert found is not None
        assert found.payload == PAYLOAD


def test_a_snap_length_keeps_the_length_on_the_wire() -> None:
    packet = ipv4(udp(bytes(100)))
    found = DatagramReader().maybe_datagram(Frame(1, 0, 101, packet[:60], len(packet)))
    assert found is not None
    assert (len(found.payload), found.length) == (32, 100)


def test_ipv6_extension_headers() -> None:
    hop_by_hop = struct.pack(">BB", 43, 0) + bytes(6)
    routing = struct.pack(">BB", 51, 1) + bytes(14)
    authentication = struct.pack(">BB", 60, 1) + bytes(10)
    destination = struct.pack(">BB", 17, 0) + bytes(6)
    found = datagram(ipv6(hop_by_hop + routing + authentication + destination + udp(), next_header=0))
    assert found is not None
    assert found.payload == PAYLOAD


def test_ipv6_headers_without_end_are_given_up() -> None:
    assert datagram(ipv6((struct.pack(">BB", 0, 0) + bytes(6)) * 40 + udp(), next_header=0)) is None


def fragments_4(whole: bytes, size: int) -> list[bytes]:
    return [
        ipv4(whole[at : at + size], fragment=at // 8 | (0x2000 if at + size < len(whole) else 0))
        for at in range(0, len(whole), size)
    ]


def fragments_6(whole: bytes, size: int) -> list[bytes]:
    return [
        ipv6(struct.pack(">BBHI", 17, 0, at | (at + size < len(whole)), 99) + whole[at : at + size], next_header=44)
        for at in range(0, len(whole), size)
    ]


@pytest.mark.parametrize("cut", [fragments_4, fragments_6])
def test_fragments_in_any_order(cut: Callable[[bytes, int], list[bytes]]) -> None:
    payload = random.Random(4).randbytes(100)
    pieces = cut(udp(payload), 32)
    assert len(pieces) == 4
    for order in permutations(pieces):
        reader = DatagramReader()
        found = [reader.maybe_datagram(Frame(at, 0, 101, piece, len(piece))) for at, piece in enumerate(order, 1)]
        assert found[:3] == [None, None, None]
        assert found[3] is not None
        assert (found[3].frame, found[3].payload) == (4, payload)


def test_a_fragment_that_was_not_kept_whole_gives_nothing() -> None:
    reader = DatagramReader()
    first, *rest = fragments_4(udp(bytes(60)), 32)
    found = [reader.maybe_datagram(Frame(1, 0, 101, piece, 99)) for piece in (first[:30], *rest)]
    assert found == [None] * 3


@given(
    octets=st.binary(max_size=120), link=st.sampled_from([0, 1, 101, 108, 113, 276]), version=st.sampled_from([0, 4, 6])
)
def test_any_frame_gives_a_datagram_or_nothing(octets: bytes, link: int, version: int) -> None:
    heads = {0: b"\2\0\0\0", 1: ETHERNET + V4, 101: b"", 108: b"\0\0\0\2", 113: bytes(14) + V4, 276: V4 + bytes(18)}
    if version:
        octets = bytes([version << 4 | 5]) + octets
    found = datagram(heads[link] + octets, link)
    assert found is None or len(found.payload) <= found.length
