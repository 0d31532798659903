"""Whether a path keeps its packets in order, and how long a receiver waits for one that is missing.

As RACK does for TCP (RFC 8985 section 3.3.2): a block that is missing counts as lost at once, until one turns up that
nobody has sent again. From then on the receiver waits somewhat longer than the latest one was late, a quarter of a
round trip at least and one round trip at most, and less with each window that comes in order.

"Nobody has sent it again" is known from time alone: what comes sooner after an ACK than the shortest round trip ever
measured is no answer to it.
"""

from __future__ import annotations

import math

from blockstep.protocol.timer import ResendTimer

# Sooner after an ACK than this share of the shortest round trip comes no answer to it.
SOON = 0.75
# How much longer than the latest block was late to wait, and what a window in order takes off that.
MARGIN = 1.5
DECAY = 7 / 8
# The wait in round trips: at least, at most, and where it is given up.
LEAST = 1 / 4
MOST = 1
NEGLIGIBLE = 1 / 16
# Where the order of packets says nothing, ask again after so many turns. A turn is a window and its acknowledgement.
TURN = 1.5


class Order:
    """What a receiver knows about the order of its path. `patience_s`: how long to wait before a gap is acknowledged;
    0 as long as nothing has overtaken anything.
    """

    __slots__ = ("_acked_at", "_asked_at", "_disorder", "_opened_at", "_timer", "_turn_s", "patience_s")

    def __init__(self, timer: ResendTimer) -> None:
        self.patience_s = 0.0
        self._timer = timer
        self._opened_at = 0.0
        self._acked_at = -math.inf  # the last ACK
        self._asked_at = -math.inf  # the last ACK that asked for something again, in this window
        self._turn_s = 0.0  # from one ACK to the next, smoothed
        self._disorder = False  # something came late in this window

    def gap_opened(self, now: float) -> float:
        """A block is missing: when to ask for it; infinity: not because of what has come until now."""
        self._opened_at = now
        if self._asked_at == -math.inf:
            return now + self.patience_s
        if self.patience_s:
            return max(now + self.patience_s, self.ask_again_at(self._asked_at))
        return math.inf if self.asked_lately(now) else now

    def ask_again_at(self, asked_at: float) -> float:
        """When to ask again, after `asked_at`, where the order of packets says nothing. Infinity: where it does, or as
        long as no turn has been measured, for then the whole of an older pass may still be on its way.
        """
        if not (self.patience_s and self._turn_s):
            return math.inf
        return asked_at + TURN * self._turn_s + self.patience_s

    def came_late(self, now: float) -> None:
        """The block that was missing has come."""
        if self._asked_at > -math.inf and not self.asked_lately(now):
            return  # it may have been sent again
        srtt_s = self._timer.srtt_s or 0.0
        late_s = max(MARGIN * (now - self._opened_at), LEAST * srtt_s)
        self.patience_s = min(max(self.patience_s, late_s), MOST * srtt_s)
        self._disorder = True

    def acknowledged(self, now: float, *, asking: bool) -> None:
        """An ACK went out; `asking`: it makes the sender send something again. If it does not, a window has ended."""
        turn_s = now - self._acked_at
        self._acked_at = now
        if asking:
            self._asked_at = now
            return
        if turn_s < math.inf:
            self._turn_s += (turn_s - self._turn_s) / (8 if self._turn_s else 1)
        self._asked_at = -math.inf
        if self.patience_s and not self._disorder:
            self.patience_s *= DECAY
            if self.patience_s < NEGLIGIBLE * (self._timer.srtt_s or 0.0):
                self.patience_s = 0.0
        self._disorder = False

    def asked_lately(self, now: float) -> bool:
        """No answer to our last question can be here yet."""
        return now - self._asked_at < SOON * self._timer.shortest_s

    def too_soon(self, now: float) -> bool:
        """No answer to our last ACK, nor to its loss, can be here yet."""
        return now - self._acked_at < (self._turn_s if self.patience_s else SOON * self._timer.shortest_s)
