"""Where the router takes packets from a host and gives packets to it.

Decided here: how packets pass between this process and the kernel, in the two ways there are. Both give whole IP
packets, complete with checksums. Not known here: namespaces, and where packets go.

A `TunPort` is the best there is: the device hands its packets to the process itself. A `PacketPort` is for those who
may not open /dev/net/tun: one end of a pair of Ethernet devices, with a ring in memory that the kernel fills (a
socket's buffer would be limited to a few hundred packets for an ordinary user).
"""

from __future__ import annotations

import fcntl
import mmap
import os
import socket
import struct
from typing import Protocol

__all__ = ["PacketPort", "Port", "TunPort", "open_tun"]

_TUN = "/dev/net/tun"
_TUNSETIFF = 0x4004_54CA
_IFF_TUN_WITHOUT_HEADER = 0x1001
_LARGEST_PACKET = 65_536

_SOL_PACKET = 263
_PACKET_RX_RING = 5
_PACKET_STATISTICS = 6
_PACKET_VERSION = 10
_TPACKET_V2 = 1
_ETH_P_IP = 0x0800
_BLOCK_BYTES = 1 << 18
_RING_FRAMES = 8192
# Before the packet in each frame: a tpacket2_hdr, a sockaddr_ll and 16 octets of room (af_packet.c).
_FRAME_HEAD = 80
_FRAME = struct.Struct("=IIIHH")
_STATUS = struct.Struct("=I")
_OURS = 1


class Port(Protocol):
    """One host's end of the router. `read` and `written` count packets."""

    read: int
    written: int

    def fileno(self) -> int:
        """What to wait for."""

    def maybe_read(self) -> bytes | None:
        """The next packet that the host has sent, or None if there is none now."""

    def write(self, packet: bytes) -> None:
        """Gives a packet to the host; OSError if the kernel does not take it."""

    def drops(self) -> int:
        """Packets that were lost between the host's device and this process, as far as this end knows."""

    def close(self) -> None:
        """Gives everything back."""


def open_tun(name: str) -> int:
    """A TUN device of this name in the network namespace of this process; its descriptor does not block."""
    descriptor = os.open(_TUN, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        fcntl.ioctl(descriptor, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _IFF_TUN_WITHOUT_HEADER))
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


class TunPort:
    """The descriptor of a TUN device. What it drops, the device counts."""

    def __init__(self, descriptor: int) -> None:
        self.read = self.written = 0
        self._descriptor = descriptor

    def fileno(self) -> int:
        """What to wait for."""
        return self._descriptor

    def maybe_read(self) -> bytes | None:
        """The next packet that the host has sent, or None if there is none now."""
        try:
            packet = os.read(self._descriptor, _LARGEST_PACKET)
        except BlockingIOError:
            return None
        self.read += 1
        return packet

    def write(self, packet: bytes) -> None:
        """Gives a packet to the host."""
        os.write(self._descriptor, packet)
        self.written += 1

    def drops(self) -> int:
        """None that this end knows of."""
        return 0

    def close(self) -> None:
        """The device goes with it."""
        os.close(self._descriptor)


class PacketPort:
    """A packet socket on the device `name`, whose other end has the Ethernet address `mac`."""

    def __init__(self, name: str, mac: str, mtu: int) -> None:
        self.read = self.written = 0
        self._drops = 0
        self._frame_bytes = 1 << (mtu + _FRAME_HEAD - 1).bit_length()
        self._next = 0
        self._to = (name, _ETH_P_IP, 0, 0, bytes.fromhex(mac.replace(":", "")))
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0)
        try:
            self._ring = self._make_ring(name)
        except OSError:
            self._socket.close()
            raise

    def _make_ring(self, name: str) -> mmap.mmap:
        block_bytes = max(_BLOCK_BYTES, self._frame_bytes)
        size_bytes = _RING_FRAMES * self._frame_bytes
        self._socket.setblocking(False)
        self._socket.setsockopt(_SOL_PACKET, _PACKET_VERSION, _TPACKET_V2)
        request = struct.pack("=IIII", block_bytes, size_bytes // block_bytes, self._frame_bytes, _RING_FRAMES)
        self._socket.setsockopt(_SOL_PACKET, _PACKET_RX_RING, request)
        ring = mmap.mmap(self._socket.fileno(), size_bytes, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
        self._socket.bind((name, _ETH_P_IP))
        return ring

    def fileno(self) -> int:
        """What to wait for."""
        return self._socket.fileno()

    def maybe_read(self) -> bytes | None:
        """The next packet that the host has sent, or None if there is none now."""
        ring, base = self._ring, self._next
        status, _, length, _, start = _FRAME.unpack_from(ring, base)
        if not status & _OURS:
            return None
        packet = ring[base + start : base + start + length]
        _STATUS.pack_into(ring, base, 0)
        self._next = (base + self._frame_bytes) % len(ring)
        self.read += 1
        return packet

    def write(self, packet: bytes) -> None:
        """Gives a packet to the host."""
        self._socket.sendto(packet, self._to)
        self.written += 1

    def drops(self) -> int:
        """Packets that found the ring full."""
        statistics = self._socket.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8)
        self._drops += struct.unpack("=II", statistics)[1]  # the kernel starts again at 0
        return self._drops

    def close(self) -> None:
        """The other end of the pair stays."""
        self._ring.close()
        self._socket.close()
