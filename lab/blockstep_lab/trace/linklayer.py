"""From a frame to the IP packet in it.

Rules of this file: a link type that is not listed, or a frame that carries no IP, gives None; it is no error, for other
people's captures are full of ARP. Known are Ethernet (with any number of VLAN tags up to four), raw IP, Linux "cooked"
(`tcpdump -i any`, both versions), and the loopback types of BSD and macOS.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from blockstep_lab.trace.frames import Frame

__all__ = ["Carried", "Vantage", "maybe_carried"]

# Where a packet was seen: interface of the capture, interface of the host, outgoing. One packet on its way through a
# host is seen once at each.
Vantage = tuple[int, int, bool]

_IPV4, _IPV6 = 0x0800, 0x86DD
_VLAN_TAGS = frozenset({0x8100, 0x88A8, 0x9100})
_VLAN_DEPTH = 4
_OUTGOING = 4
# AF_INET is 2 everywhere; AF_INET6 is 10 (Linux), 24 (NetBSD, OpenBSD), 28 (FreeBSD) or 30 (macOS).
_FAMILIES = frozenset({2, 10, 24, 28, 30})


class Carried(NamedTuple):
    """Where in the frame's data the IP packet starts, and at which vantage point it was seen."""

    offset: int
    vantage: Vantage


def maybe_carried(frame: Frame) -> Carried | None:
    """The IP packet in `frame`, or None if there is none or the link is unknown."""
    reader = _READERS.get(frame.link_type)
    return reader(frame) if reader else None


def _ethernet(frame: Frame) -> Carried | None:
    return _by_ethertype(frame, 12, (frame.interface, 0, False))


def _cooked(frame: Frame) -> Carried | None:
    outgoing = frame.data[:2] == b"\0\4"
    return _by_ethertype(frame, 14, (frame.interface, 0, outgoing))


def _cooked_2(frame: Frame) -> Carried | None:
    data = frame.data
    if len(data) < 20 or _number(data, 0) not in (_IPV4, _IPV6):
        return None
    host_interface = int.from_bytes(data[4:8], "big")
    return Carried(20, (frame.interface, host_interface, data[10] == _OUTGOING))


def _raw(frame: Frame) -> Carried | None:
    return Carried(0, (frame.interface, 0, False))


def _loopback(frame: Frame) -> Carried | None:
    """Four octets of address family: in the order of the machine that captured, which is either."""
    family = frame.data[:4]
    if not {int.from_bytes(family, "big"), int.from_bytes(family, "little")} & _FAMILIES:
        return None
    return Carried(4, (frame.interface, 0, False))


def _by_ethertype(frame: Frame, at: int, vantage: Vantage) -> Carried | None:
    for _ in range(_VLAN_DEPTH + 1):
        ethertype = _number(frame.data, at)
        if ethertype in (_IPV4, _IPV6):
            return Carried(at + 2, vantage)
        if ethertype not in _VLAN_TAGS:
            return None
        at += 4
    return None


def _number(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 2], "big")


_READERS: dict[int, Callable[[Frame], Carried | None]] = {
    0: _loopback,  # NULL
    1: _ethernet,
    12: _raw,  # DLT_RAW as some systems wrote it into files
    14: _raw,
    101: _raw,  # RAW
    108: _loopback,  # LOOP
    113: _cooked,  # LINUX_SLL
    228: _raw,  # IPV4
    229: _raw,  # IPV6
    276: _cooked_2,  # LINUX_SLL2
}
