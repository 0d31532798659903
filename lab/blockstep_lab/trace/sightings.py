"""One packet, one datagram: second sights are dropped.

`tcpdump -i any` sees a packet on loopback or through a bridge once for each interface and direction, and a merged
capture holds both ends of a link. Told apart from a real resend like this: every vantage point counts its sights of
packets that are equal in everything (identification field and payload too), and a sight is new only if its point has
then counted more of them than any point before. So a resend, which every point sees again, stays a resend.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable

from blockstep_lab.trace.ip import Datagram
from blockstep_lab.trace.linklayer import Vantage

__all__ = ["Sightings"]

# A packet needs no longer from one point to the next of one capture.
_MEMORY_NS = 2_000_000_000


class _Sights:
    __slots__ = ("by_vantage", "last_ns", "most")

    def __init__(self) -> None:
        self.last_ns = 0
        self.most = 0
        self.by_vantage: dict[Vantage, int] = {}


class Sightings:
    """Asked about each datagram in turn. `repeated` counts the second sights."""

    def __init__(self) -> None:
        self.repeated = 0
        self._sights: OrderedDict[Hashable, _Sights] = OrderedDict()

    def is_new(self, datagram: Datagram) -> bool:
        """True unless this is another sight of a datagram that was already given."""
        self._forget(datagram.time_ns)
        key = (datagram.source, datagram.destination, datagram.identity, hash(datagram.payload))
        sights = self._sights.setdefault(key, _Sights())
        self._sights.move_to_end(key)
        sights.last_ns = datagram.time_ns
        count = sights.by_vantage.get(datagram.vantage, 0) + 1
        sights.by_vantage[datagram.vantage] = count
        if count <= sights.most:
            self.repeated += 1
            return False
        sights.most = count
        return True

    def _forget(self, now_ns: int) -> None:
        while self._sights:
            key, sights = next(iter(self._sights.items()))
            if now_ns - sights.last_ns <= _MEMORY_NS:
                return
            del self._sights[key]
