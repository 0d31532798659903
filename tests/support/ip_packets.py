"""IPv4 packets for tests, made by the letter of the RFCs and not by the code under test."""

from __future__ import annotations

import socket
import struct

__all__ = ["LEFT", "RIGHT", "ipv4", "reference_sum", "tcp", "udp"]

LEFT, RIGHT = "198.18.0.1", "198.19.0.1"


def ipv4(protocol: int, body: bytes, *, options: bytes = b"", fragment: int = 0, to_left: bool = False) -> bytes:
    """A packet between the lab's first hosts, its header checksum 0."""
    words = 5 + len(options) // 4
    head = struct.pack(">BBHHHBBH", 0x40 | words, 0, words * 4 + len(body), 1, fragment, 64, protocol, 0)
    left, right = socket.inet_aton(LEFT), socket.inet_aton(RIGHT)
    return head + (right + left if to_left else left + right) + options + body


def udp(payload: bytes, checksum: int = 0, *, source: int = 69, destination: int = 1069) -> bytes:
    """Header and payload (RFC 768)."""
    return struct.pack(">HHHH", source, destination, 8 + len(payload), checksum) + payload


def tcp(payload: bytes, words: int = 5) -> bytes:
    """Header of that many words, and payload (RFC 9293)."""
    return struct.pack(">HHIIBBHHH", 1, 2, 3, 4, words << 4, 0x18, 100, 0, 0) + bytes((words - 5) * 4) + payload


def reference_sum(packet: bytes, *, pseudo: bool) -> int:
    """The sum over body and pseudo header as RFC 1071 has it: add words, fold the carries; 0xFFFF if all is well."""
    start = (packet[0] & 15) * 4
    body = packet[start:]
    data = (packet[12:20] + bytes([0, packet[9]]) + struct.pack(">H", len(body)) if pseudo else b"") + body
    total: int = sum(struct.unpack(f">{(len(data) + 1) // 2}H", data + bytes(len(data) % 2)))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total
