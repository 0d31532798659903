"""Times counted in buckets, so that a median over any number of packets costs the same few kilobytes.

Decided here: the buckets, whose width is 1/32 of their value: a quantile is at most 3 % off. Not known here: what was
timed.
"""

from __future__ import annotations

__all__ = ["Histogram"]

_BITS = 5
_FINE = 1 << _BITS
# The last bucket starts at over one day.
_BUCKETS = (38 - _BITS) * _FINE


class Histogram:
    """Counts times in seconds with a resolution of one microsecond."""

    __slots__ = ("_counts", "total")

    def __init__(self) -> None:
        self._counts = [0] * _BUCKETS
        self.total = 0

    def add(self, time_s: float) -> None:
        """Counts one time; a negative one counts as zero."""
        micros = int(time_s * 1_000_000)
        if micros < _FINE:
            bucket = micros if micros > 0 else 0
        else:
            shift = micros.bit_length() - _BITS - 1
            bucket = (shift << _BITS) + (micros >> shift)
        self._counts[bucket if bucket < _BUCKETS else _BUCKETS - 1] += 1
        self.total += 1

    def quantile(self, share: float) -> float | None:
        """The time (seconds) that `share` (0 to 1) of all times do not exceed; None if there are none."""
        if not self.total:
            return None
        wanted = max(1, round(share * self.total))
        seen = 0
        for bucket, count in enumerate(self._counts):
            seen += count
            if seen >= wanted:
                return _middle(bucket)
        return _middle(_BUCKETS - 1)


def _middle(bucket: int) -> float:
    if bucket < 2 * _FINE:
        return bucket / 1_000_000
    shift = (bucket >> _BITS) - 1
    start = (bucket - (shift << _BITS)) << shift
    return (start + (1 << shift) / 2) / 1_000_000
