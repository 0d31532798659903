"""Capture files and packets, octet by octet, as the formats' documents describe them.

Made here a second time and by hand, so that the project's own writer is not what tests its reader.
"""

from __future__ import annotations

import struct

from blockstep_lab.trace.frames import Frame
from blockstep_lab.trace.ip import Datagram, DatagramReader
from blockstep_lab.trace.reader import CaptureReader

__all__ = [
    "ETHERNET",
    "PACKET",
    "PAYLOAD",
    "TAG",
    "V4",
    "V6",
    "block",
    "datagram",
    "enhanced",
    "interface",
    "ipv4",
    "ipv6",
    "option",
    "pcap",
    "read",
    "section",
    "udp",
]

PACKET = bytes(range(60))
PAYLOAD = b"\0\4\0\7"
ETHERNET = bytes(12)
TAG = struct.pack(">HH", 0x8100, 5)
V4, V6 = b"\x08\x00", b"\x86\xdd"


def read(octets: bytes, piece: int = 1 << 20) -> list[Frame]:
    reader = CaptureReader()
    frames = [frame for at in range(0, len(octets), piece) for frame in reader.feed(octets[at : at + piece])]
    reader.finish()
    return frames


def pcap(order: str = "<", magic: int = 0xA1B2C3D4, *, records: int = 1, link: int = 101) -> bytes:
    head = struct.pack(order + "IHHiIII", magic, 2, 4, 0, 0, 65535, link)
    record = struct.pack(order + "IIII", 5, 7, len(PACKET), 99) + PACKET
    return head + record * records


def block(kind: int, body: bytes, order: str = "<") -> bytes:
    body += bytes(-len(body) % 4)
    length = struct.pack(order + "I", len(body) + 12)
    return struct.pack(order + "I", kind) + length + body + length


def section(order: str = "<") -> bytes:
    return block(0x0A0D0D0A, struct.pack(order + "IHHq", 0x1A2B3C4D, 1, 0, -1), order)


def interface(options: bytes = b"", order: str = "<", link: int = 101) -> bytes:
    return block(1, struct.pack(order + "HHI", link, 0, 0) + options, order)


def enhanced(ticks: int, options: bytes = b"", order: str = "<", number: int = 0) -> bytes:
    head = struct.pack(order + "IIIII", number, ticks >> 32, ticks & 0xFFFFFFFF, len(PACKET), len(PACKET))
    return block(6, head + PACKET + options, order)


def option(code: int, value: bytes, order: str = "<") -> bytes:
    return struct.pack(order + "HH", code, len(value)) + value + bytes(-len(value) % 4)


def udp(payload: bytes = PAYLOAD, length: int | None = None) -> bytes:
    return struct.pack(">HHHH", 40000, 69, 8 + len(payload) if length is None else length, 0) + payload


def ipv4(
    body: bytes, *, fragment: int = 0, options: bytes = b"", protocol: int = 17, total: int | None = None
) -> bytes:
    header = 20 + len(options)
    total = header + len(body) if total is None else total
    head = struct.pack(">BBHHHBBH", 0x40 | header // 4, 0, total, 77, fragment, 64, protocol, 0)
    return head + bytes([127, 0, 0, 1, 127, 0, 0, 2]) + options + body


def ipv6(body: bytes, next_header: int = 17) -> bytes:
    return struct.pack(">IHBB", 6 << 28, len(body), next_header, 64) + bytes(15) + b"\1" + bytes(15) + b"\2" + body


def datagram(data: bytes, link: int = 101, number: int = 1, time_ns: int = 0) -> Datagram | None:
    return DatagramReader().maybe_datagram(Frame(number, time_ns, link, data, len(data)))
