"""Requests in somebody else's name, so many a second, and what the named ones get for it.

A TUN device stands for the rest of the Internet: what is written into it comes from any address that we say, and what
the server answers comes out of it, to be counted by the address that has to bear it. Nobody there answers, not even
with an ICMP error: for the server that is the worst kind of victim.

Decided here: that every request has an address and port of its own, so none looks like a client that asks again. Run it
as a process of its own: `forge` is busy.
"""

from __future__ import annotations

import os
import random
import struct
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection

_TICK_S = 0.005
_LARGEST = 65536
_UDP, _HEADERS = 17, 28
_IP = struct.Struct(">BBHHHBBHII")
_PORTS = struct.Struct(">HHHH")


@dataclass(frozen=True, slots=True, kw_only=True)
class Flood:
    """What is forged. `victims` is a network as (address, hosts); `words` are the requests, in turn."""

    server: tuple[int, int]
    victims: tuple[int, int]
    words: tuple[bytes, ...]
    per_s: int
    seed: int


@dataclass(slots=True)
class Suffered:
    """What came of it. `datagrams` and `octets` of payload by victim (address and port)."""

    seconds: float = 0.0
    sent: int = 0
    not_taken: int = 0
    datagrams: Counter[tuple[int, int]] = field(default_factory=Counter)
    octets: Counter[tuple[int, int]] = field(default_factory=Counter)

    def summary(self) -> dict[str, float]:
        """In numbers."""
        return {
            "seconds": round(self.seconds, 1),
            "forged_requests": self.sent,
            "forged_per_s": round(self.sent / self.seconds) if self.seconds else 0,
            "not_taken_by_the_kernel": self.not_taken,
            "victims_answered": len(self.datagrams),
            "datagrams": sum(self.datagrams.values()),
            "octets": sum(self.octets.values()),
            "most_datagrams_for_one_request": max(self.datagrams.values(), default=0),
            "most_octets_for_one_request": max(self.octets.values(), default=0),
            "octets_answered_for_one_forged": round(sum(self.octets.values()) / max(1, self.sent), 3),
        }


def forge(tun: int, flood: Flood, orders: Connection) -> None:
    """Flood until something comes over `orders`, listen for what is still to come until it is closed, then answer it
    with what the victims suffered.
    """
    suffered = Suffered()
    packets = _packets(flood)
    started = time.monotonic()
    while not orders.poll(_TICK_S):
        due = int((time.monotonic() - started) * flood.per_s) - suffered.sent - suffered.not_taken
        # Behind its time it does not catch up with one great burst: no attacker's line would.
        for _ in range(min(due, int(8 * _TICK_S * flood.per_s))):
            _send(tun, next(packets), suffered)
        _count(tun, suffered)
    suffered.seconds = time.monotonic() - started
    orders.recv()
    while not orders.poll(_TICK_S):
        _count(tun, suffered)
    _count(tun, suffered)
    orders.send(suffered)


def _send(tun: int, packet: bytes, suffered: Suffered) -> None:
    try:
        os.write(tun, packet)
    except OSError:
        suffered.not_taken += 1
    else:
        suffered.sent += 1


def _count(tun: int, suffered: Suffered) -> None:
    while True:
        try:
            packet = os.read(tun, _LARGEST)
        except BlockingIOError:
            return
        if packet[0] >> 4 != 4 or packet[9] != _UDP:
            continue  # the device's own IPv6 neighbours
        victim = (int.from_bytes(packet[16:20], "big"), int.from_bytes(packet[22:24], "big"))
        suffered.datagrams[victim] += 1
        suffered.octets[victim] += len(packet) - _HEADERS


def _packets(flood: Flood) -> Iterator[bytes]:
    chance = random.Random(flood.seed)
    network, hosts = flood.victims
    server, port = flood.server
    bits: Callable[[int], int] = chance.getrandbits
    for words in _for_ever(flood.words):
        source = network + bits(32) % hosts
        length = _HEADERS + len(words)
        checksum = _sum(0x4500 + length + 0x4000 + 0x4011 + (source >> 16) + (source & 0xFFFF), server)
        head = _IP.pack(0x45, 0, length, 0, 0x4000, 0x40, _UDP, checksum, source, server)
        # A UDP checksum of 0 says that there is none (RFC 768).
        yield head + _PORTS.pack(1024 + bits(16) % 64512, port, length - 20, 0) + words


def _for_ever(words: tuple[bytes, ...]) -> Iterator[bytes]:
    while True:
        yield from words


def _sum(partial: int, server: int) -> int:
    total = partial + (server >> 16) + (server & 0xFFFF)
    total = (total & 0xFFFF) + (total >> 16)
    return ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF
