"""What a relay carries, as a capture: `blockstep link --pcap`.

Decided here: the relay is seen from the clients' side, where a transfer has one pair of addresses: packets of a client
go to the relay's port, those of the server come from it. Each is recorded once, when it is taken in and its fate has
been decided, and its comment tells the fate: `blockstep trace` and Wireshark show what no capture from outside can
know. Not known here: who decides.
"""

from __future__ import annotations

import socket
from typing import NamedTuple

from blockstep.transport.pcapng_writer import PcapngWriter
from blockstep.transport.recording import Recorder
from blockstep_lab.endpoints import Address
from blockstep_lab.hop import Hop
from blockstep_lab.impairment import Delivery

__all__ = ["Fate", "RelayCapture"]


class Fate(NamedTuple):
    """What `hop` decided about a packet just now."""

    hop: Hop
    deliveries: list[Delivery]


class RelayCapture:
    """Notes packets in `writer`; `unrecorded` counts those that its disk would not take."""

    def __init__(self, writer: PcapngWriter) -> None:
        self.unrecorded = 0
        self._writer = writer
        self._recorder = Recorder(writer)
        self._tail_dropped: dict[str, int] = {}
        self._corrupted: dict[str, int] = {}

    def note(self, front: socket.socket, client: Address, packet: bytes, fate: Fate) -> None:
        """`packet` came from `client` (if its hop is the one up) or goes to it; `front` is what the client sees."""
        self.unrecorded += self._writer.error is not None
        comment = self._comment(*fate)
        if fate.hop.direction == "up":
            self._recorder.received(front, client, packet, comment=comment)
        else:
            self._recorder.sent(front, client, packet, comment=comment)

    def flush(self) -> None:
        """Hand to the kernel what has been noted."""
        self._writer.flush()

    def _comment(self, hop: Hop, deliveries: list[Delivery]) -> str:
        way, counters = hop.direction, hop.counters
        queue_was_full = counters.tail_dropped > self._tail_dropped.get(way, 0)
        was_damaged = counters.corrupted > self._corrupted.get(way, 0)
        self._tail_dropped[way], self._corrupted[way] = counters.tail_dropped, counters.corrupted
        if not deliveries:
            return "lost: the link's queue was full" if queue_was_full else "lost: by the link"
        if was_damaged:
            return "damaged by the link"
        return "delivered twice by the link" if len(deliveries) > 1 else ""
