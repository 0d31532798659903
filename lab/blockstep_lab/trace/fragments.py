"""IP fragments put together, within bounds.

Rules of this file: a datagram is whole when its last fragment is there and nothing is missing before it. Where
fragments overlap, the first one seen holds (RFC 5722 would drop the datagram; a reader of captures rather shows it).
Datagrams that stay incomplete are forgotten after 60 s of the capture's time (RFC 1122 section 3.3.2), or when too
many wait.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import NamedTuple

__all__ = ["Fragment", "Reassembler"]

_WAITING_MOST = 1024
_OCTETS_MOST = 65_535
_LIFETIME_NS = 60_000_000_000


class Fragment(NamedTuple):
    """A piece at `offset` octets into the datagram; `more` unless it is the last."""

    offset: int
    more: bool
    body: bytes


class _Waiting:
    def __init__(self, time_ns: int) -> None:
        self.since_ns = time_ns
        self.pieces: dict[int, bytes] = {}
        self.octets = 0
        self.end: int | None = None

    def add(self, fragment: Fragment) -> None:
        if fragment.offset not in self.pieces:
            self.pieces[fragment.offset] = fragment.body
            self.octets += len(fragment.body)

    def maybe_joined(self) -> bytes | None:
        if self.end is None or self.octets < self.end:
            return None  # before all of it can be there, nothing is sorted: thousands of tiny pieces would take seconds
        joined = bytearray()
        for offset, piece in sorted(self.pieces.items()):
            if offset > len(joined):
                return None
            joined += piece[len(joined) - offset :]
        return bytes(joined[: self.end]) if len(joined) >= self.end else None


class Reassembler:
    """Fragments in, whole datagrams out; `key` tells datagrams apart."""

    def __init__(self) -> None:
        self._waiting: OrderedDict[Hashable, _Waiting] = OrderedDict()

    def maybe_whole(self, key: Hashable, fragment: Fragment, time_ns: int) -> bytes | None:
        """The datagram that `fragment` completes."""
        end = fragment.offset + len(fragment.body)
        if end > _OCTETS_MOST:
            return None
        waiting = self._waiting.get(key)
        if waiting is None or time_ns - waiting.since_ns > _LIFETIME_NS:
            waiting = self._waiting[key] = _Waiting(time_ns)
        waiting.add(fragment)
        if not fragment.more:
            waiting.end = end
        joined = waiting.maybe_joined()
        if joined is not None:
            del self._waiting[key]
        elif len(self._waiting) > _WAITING_MOST:
            self._waiting.popitem(last=False)
        return joined
