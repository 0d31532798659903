"""A capture of what a program sent and received, written by the program itself: `--pcap FILE`.

Needs no privileges and sees what no capture from outside can say, such as which packet a simulated link dropped. Frames
are raw IP (LINKTYPE_RAW) with an IP and a UDP header made here, checksums right, times in nanoseconds.

Rules of this file:

* Only whole blocks reach the file, each in one system call on a descriptor that appends. So a killed process leaves a
  readable file, and forked children may write into one file at once.
* A capture never breaks a transfer: when the disk is full, writing stops and `error` says why.
* No clock: the caller says when.
"""

from __future__ import annotations

import os
import socket
import struct
from functools import lru_cache
from pathlib import Path
from typing import Self

from blockstep.protocol.errors import LocalError

__all__ = ["PAYLOAD_LARGEST", "CannotCapture", "PcapngWriter"]

# IPv4: 65,535 less 20 and 8 octets of headers.
PAYLOAD_LARGEST = 65_507

_LINKTYPE_RAW = 101
_FLUSH_OCTETS = 65_536
_FLUSH_NS = 200_000_000
_COMMENT_LARGEST = 1024
_UDP = 17

_Address = tuple[str, int] | tuple[str, int, int, int]


class CannotCapture(LocalError):
    """The file cannot be made."""


class PcapngWriter:
    """Writes datagrams to a pcapng file. Close it, or use it in a `with` block.

    Blocks wait in memory until there are 64 KiB of them or the oldest is 0.2 s old (by the times that are passed in, so
    a quiet program should call `flush`). After a fork each process writes only what it was given itself.
    """

    def __init__(self, path: str | Path, interface: str = "blockstep") -> None:
        """Make (or empty) the file at `path`; CannotCapture if that fails. `interface` is what it is shown as."""
        self.error: OSError | None = None
        self._blocks = bytearray()
        self._owner = os.getpid()
        self._flushed_ns = 0
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC
        try:
            self._fd = os.open(path, flags, 0o644)
        except OSError as error:
            raise CannotCapture(f"cannot write the capture {os.fspath(path)}: {error.strerror}") from error
        self._blocks += _section_block() + _interface_block(interface)
        self.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def write(
        self, time_ns: int, source: _Address, destination: _Address, payload: bytes | memoryview, *, comment: str = ""
    ) -> None:
        """Add one datagram of at most 65,507 octets, seen at `time_ns` nanoseconds since the epoch.

        Addresses are socket addresses of one family (an IPv4 address mapped into IPv6 is written as IPv4).
        `comment` is shown by Wireshark; `blockstep trace` takes one that starts with "lost:" as the fate of the packet.
        LocalError for what is no datagram; a failing disk sets `error` instead.
        """
        if self._owner != os.getpid():
            self._owner = os.getpid()
            self._blocks.clear()
        packet = _ip_packet(source, destination, payload)
        self._blocks += _packet_block(time_ns, packet, comment)
        if len(self._blocks) >= _FLUSH_OCTETS or time_ns - self._flushed_ns >= _FLUSH_NS:
            self._flushed_ns = time_ns
            self.flush()

    def fileno(self) -> int:
        """The file's descriptor, for a process that closes all others."""
        return self._fd

    def flush(self) -> None:
        """Hand all whole blocks to the kernel."""
        blocks, self._blocks = self._blocks, bytearray()
        if self._fd < 0 or self.error is not None or self._owner != os.getpid():
            return
        try:
            while blocks:
                del blocks[: os.write(self._fd, blocks)]
        except OSError as error:
            self.error = error

    def close(self) -> None:
        """Flush and close; may be called again."""
        self.flush()
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _section_block() -> bytes:
    body = struct.pack("=IHHq", 0x1A2B3C4D, 1, 0, -1)
    return _block(0x0A0D0D0A, body + _option(4, b"blockstep") + _option(0, b""))


def _interface_block(name: str) -> bytes:
    options = _option(2, name.encode("utf-8", "backslashreplace")) + _option(9, b"\x09") + _option(0, b"")
    return _block(1, struct.pack("=HHI", _LINKTYPE_RAW, 0, 0) + options)


def _packet_block(time_ns: int, packet: bytes, comment: str) -> bytes:
    head = struct.pack("=IIIII", 0, time_ns >> 32 & 0xFFFFFFFF, time_ns & 0xFFFFFFFF, len(packet), len(packet))
    options = b""
    if comment:
        text = comment.encode("utf-8", "backslashreplace")[:_COMMENT_LARGEST]
        options = _option(1, text) + _option(0, b"")
    return _block(6, head + packet + bytes(-len(packet) % 4) + options)


def _block(kind: int, body: bytes) -> bytes:
    length = struct.pack("=I", len(body) + 12)
    return struct.pack("=I", kind) + length + body + length


def _option(code: int, value: bytes) -> bytes:
    return struct.pack("=HH", code, len(value)) + value + bytes(-len(value) % 4)


def _ip_packet(source: _Address, destination: _Address, payload: bytes | memoryview) -> bytes:
    if len(payload) > PAYLOAD_LARGEST:
        raise LocalError(f"{len(payload)} octets are no UDP payload, {PAYLOAD_LARGEST} may be")
    addresses = _address_octets(source[0]) + _address_octets(destination[0])
    ports = source[1], destination[1]
    if len(addresses) not in (8, 32) or not all(0 <= port <= 0xFFFF for port in ports):
        raise LocalError("a datagram needs two addresses of one family and two ports")
    length = len(payload) + 8
    udp = struct.pack(">HHH", *ports, length)
    # The pseudo header (RFC 768, RFC 8200 section 8.1) has the same sum for both families. The result is never 0, which
    # would say "no checksum".
    total = _sum(addresses) + _UDP + length + _sum(udp) + _sum(payload)
    udp += struct.pack(">H", 0xFFFF - total % 0xFFFF)
    return b"".join((_ip_header(addresses, length), udp, payload))


def _ip_header(addresses: bytes, length: int) -> bytes:
    if len(addresses) == 32:
        return struct.pack(">IHBB", 6 << 28, length, _UDP, 64) + addresses
    head = struct.pack(">BBHHHBB", 0x45, 0, length + 20, 0, 0x4000, 64, _UDP)
    return head + struct.pack(">H", -(_sum(head) + _sum(addresses)) % 0xFFFF) + addresses


def _sum(octets: bytes | memoryview) -> int:
    """The octets as one number: modulo 65,535 that is the Internet checksum's sum of 16-bit words (RFC 1071)."""
    value = int.from_bytes(octets, "big")
    return (value << 8 if len(octets) % 2 else value) % 0xFFFF


@lru_cache(maxsize=4096)
def _address_octets(address: str) -> bytes:
    try:
        if ":" not in address:
            return socket.inet_pton(socket.AF_INET, address)
        octets = socket.inet_pton(socket.AF_INET6, address.partition("%")[0])
    except OSError as error:
        raise LocalError("not a numeric address") from error
    mapped = octets.startswith(bytes(10) + b"\xff\xff")
    return octets[12:] if mapped else octets
