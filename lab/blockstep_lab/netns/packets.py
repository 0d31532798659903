"""IPv4 packets as the router sees them: where the payload starts, and checksums made right again.

Decided here: what of a packet counts as payload, so that a corruption hits the same bit of the same payload as in the
relay, which sees payloads only. Not known here: what happens to packets.

A checksum over words of 16 bits is the packet read as one large number, modulo 65,535 (RFC 1071).
"""

from __future__ import annotations

__all__ = ["ICMP", "TCP", "UDP", "damage_start", "is_ipv4", "mended", "payload_start", "udp_payload_start"]

ICMP, TCP, UDP = 1, 6, 17

_UDP_HEADER = 8
_ICMP_HEADER = 8
_CHECKSUM_AT = {ICMP: 2, TCP: 16, UDP: 6}


def is_ipv4(packet: bytes) -> bool:
    """Whether this is an IPv4 packet with a whole header."""
    return len(packet) >= 20 and packet[0] >> 4 == 4 and 20 <= (packet[0] & 15) * 4 <= len(packet)


def payload_start(packet: bytes) -> int:
    """Where the application's bytes begin in an IPv4 packet; its length if it carries none."""
    start = (packet[0] & 15) * 4
    if _fragment_offset(packet):
        return start
    protocol = packet[9]
    if protocol == UDP:
        start += _UDP_HEADER
    elif protocol == ICMP:
        start += _ICMP_HEADER
    elif protocol == TCP and len(packet) > start + 12:
        start += (packet[start + 12] >> 4) * 4
    return min(start, len(packet))


def damage_start(packet: bytes) -> int:
    """As `payload_start`; for a packet without payload its transport header: somebody must notice the damage."""
    start = payload_start(packet)
    return start if start < len(packet) else min((packet[0] & 15) * 4, max(len(packet) - 1, 0))


def udp_payload_start(packet: bytes) -> int:
    """Where the payload of a whole UDP datagram begins; 0 for every other packet."""
    start = (packet[0] & 15) * 4 + _UDP_HEADER
    if packet[9] != UDP or start > len(packet) or _fragment_offset(packet) or packet[6] & 0x20:
        return 0
    return start


def mended(packet: bytes) -> bytes:
    """The packet with the checksum that its content wants; a fragment, whose checksum is elsewhere, as it is."""
    start = (packet[0] & 15) * 4
    protocol = packet[9]
    place = start + _CHECKSUM_AT.get(protocol, len(packet))
    if _fragment_offset(packet) or packet[6] & 0x20 or place + 2 > len(packet):
        return packet
    changed = bytearray(packet)
    changed[place : place + 2] = b"\0\0"
    body = bytes(changed[start:])
    total = _word_sum(body)
    if protocol != ICMP:  # the pseudo header: both addresses, the protocol, the length
        total += _word_sum(packet[12:20]) + protocol + len(body)
    checksum = 0xFFFF - total % 0xFFFF
    if protocol == ICMP and checksum == 0xFFFF:
        checksum = 0
    changed[place : place + 2] = checksum.to_bytes(2, "big")
    return bytes(changed)


def _word_sum(octets: bytes) -> int:
    value = int.from_bytes(octets, "big")
    return (value << 8 if len(octets) % 2 else value) % 0xFFFF


def _fragment_offset(packet: bytes) -> int:
    return (packet[6] & 0x1F) << 8 | packet[7]
