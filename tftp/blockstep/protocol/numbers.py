"""Block indexes and their 16-bit wire numbers.

A *block index* counts blocks without bound: 0 is the acknowledgement of a request, 1 the first block of data. On the
wire it has 16 bits (RFC 1350 section 5). What follows 65,535 no RFC says: most programs go on with 0, some with 1
(the `rollover` option of tftp-hpa). This file knows both, and gives the wire numbers of a run of blocks as two *byte
planes*, so that a burst is stamped or checked with two slices instead of one call for each block.
"""

from __future__ import annotations

from blockstep.protocol.errors import LocalError

_PERIOD = {0: 65536, 1: 65535}

_HIGH = b"".join(bytes([high]) * 256 for high in range(256))
_LOW = bytes(range(256)) * 256
# Two periods of each plane: a run may start anywhere in the first and never meets a border.
_PLANES = {
    0: (_HIGH * 2, _LOW * 2),
    1: (_HIGH[1:] * 2, _LOW[1:] * 2),
}

LONGEST_RUN = 65535


class Numbering:
    """Wire numbers of block indexes for one `rollover`: the number that follows 65,535, 0 or 1."""

    __slots__ = ("_first", "_high", "_low", "period", "rollover")

    def __init__(self, rollover: int = 0) -> None:
        if rollover not in _PERIOD:
            raise LocalError(f"rollover must be 0 or 1, not {rollover}")
        self.rollover = rollover
        self.period = _PERIOD[rollover]
        self._first = rollover
        self._high, self._low = _PLANES[rollover]

    def wire(self, index: int) -> int:
        """The wire number (0-65535) of a block index."""
        if index == 0:
            return 0
        return (index - self._first) % self.period + self._first

    def planes(self, index: int, count: int) -> tuple[bytes, bytes]:
        """High and low bytes of the wire numbers of `count` (1-65535) blocks from `index` (1 or more) on."""
        start = (index - self._first) % self.period
        return self._high[start : start + count], self._low[start : start + count]

    def at_or_after(self, wire: int, reference: int) -> int:
        """The first block index from `reference` (0 or more) on with this wire number; -1 where there is none.

        What a sender asks: acknowledgements count from its window's start, and no window is as long as a period.
        """
        if wire == 0 and self._first == 1:
            return 0 if reference == 0 else -1
        index = reference + (wire - reference) % self.period
        return index if index >= self._first else index + self.period

    def nearest(self, wire: int, reference: int) -> int:
        """The block index with this wire number that lies nearest to `reference`; -1 where there is none.

        There is none for a number that could only mean a block before the first, nor, with rollover 1, for a 0 that
        comes long after the request: 0 is then the number of no block of data.
        """
        if wire == 0 and self._first == 1:
            return 0 if reference < self.period // 2 else -1
        half = self.period // 2
        # Modulo the period, so that the index may stand for its wire number.
        index = reference + (wire - reference + half) % self.period - half
        return index if index >= self._first else -1
