"""How late packets left, against the time that the model named.

Decided here: what is kept of it; a histogram for the quantiles and the worst case as it was. Not known here: clocks.
"""

from __future__ import annotations

from blockstep_lab.histogram import Histogram

__all__ = ["Lateness"]


class Lateness:
    """Times in seconds; `most_s` is exact, quantiles are within 3 %."""

    __slots__ = ("_add", "_histogram", "most_s")

    def __init__(self) -> None:
        self._histogram = Histogram()
        self._add = self._histogram.add
        self.most_s = 0.0

    def add(self, late_s: float) -> None:
        """Counts one packet."""
        self._add(late_s)
        if late_s > self.most_s:
            self.most_s = late_s

    def quantile(self, share: float) -> float:
        """The time that `share` (0 to 1) of all packets do not exceed; 0 if there were none."""
        return self._histogram.quantile(share) or 0.0
