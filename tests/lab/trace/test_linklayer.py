"""From a frame to the IP packet in it."""

from __future__ import annotations

import struct

import pytest

from support.capture_bytes import ETHERNET, PAYLOAD, TAG, V4, V6, datagram, ipv4, ipv6, udp


@pytest.mark.parametrize(
    ("link", "head", "packet"),
    [
        (1, ETHERNET + V4, ipv4(udp())),
        (1, ETHERNET + TAG + V4, ipv4(udp())),
        (1, ETHERNET + struct.pack(">HH", 0x88A8, 5) + TAG + V6, ipv6(udp())),
        (101, b"", ipv4(udp())),
        (101, b"", ipv6(udp())),
        (12, b"", ipv4(udp())),
        (228, b"", ipv4(udp())),
        (229, b"", ipv6(udp())),
        (113, bytes(14) + V4, ipv4(udp())),
        (113, bytes(14) + TAG + V6, ipv6(udp())),
        (276, V4 + bytes(18), ipv4(udp())),
        (276, V6 + bytes(18), ipv6(udp())),
        (0, b"\2\0\0\0", ipv4(udp())),
        (0, b"\0\0\0\2", ipv4(udp())),
        (0, b"\x1e\0\0\0", ipv6(udp())),
        (108, b"\0\0\0\x18", ipv6(udp())),
    ],
)
def test_every_link_type(link: int, head: bytes, packet: bytes) -> None:
    found = datagram(head + packet, link)
    assert found is not None
    assert found.payload == PAYLOAD
    assert (found.source.port, found.destination.port) == (40000, 69)


@pytest.mark.parametrize(
    ("link", "data"),
    [
        (147, ipv4(udp())),
        (1, ETHERNET + b"\x08\x06" + bytes(28)),
        (1, ETHERNET + TAG * 5 + V4 + ipv4(udp())),
        (1, ETHERNET),
        (0, b"\x07\0\0\0" + ipv4(udp())),
        (276, b"\x08\x06" + bytes(40)),
        (101, b""),
        (101, ipv4(udp(), protocol=6)),
        (101, ipv4(udp(), total=10)),
        (101, ipv4(udp(length=4))),
        (101, ipv4(udp(length=500))),
        (101, ipv4(b"1234567")),
        (101, ipv6(b"", next_header=0)),
    ],
)
def test_what_carries_no_datagram_gives_none(link: int, data: bytes) -> None:
    assert datagram(data, link) is None
