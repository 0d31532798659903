"""When to send again: a timer that learns the round trip.

RFC 6298 with the constants of its section 2, Karn's rule left to the caller (who alone knows what was sent twice) and
two bounds of our own: a floor, because a process that waits for its turn on a busy machine is no lost packet, and a
ceiling, because a peer that asked for `timeout` (RFC 2349) wants to hear from us that often. No clock inside: times
are arguments in seconds.
"""

from __future__ import annotations

# The floor is a measured compromise: see docs/performance.md. A resend that proves needless doubles it.
FLOOR_S = 0.010
FLOOR_MAX_S = 0.200
FLOOR_DECAY = 0.03
EASING = 0.25
# What passes for a round trip as those before, as shares of the shortest and of the smoothed one.
USUAL = (0.75, 1.25)
FIRST_S = 1.0
CEILING_S = 4.0
GIVE_UP_S = 24.0


class ResendTimer:
    """Retransmission time-out of one transfer, in seconds.

    `srtt_s` is the smoothed round trip, None before the first; `shortest_s` the shortest one measured, 0 before.
    """

    __slots__ = (
        "_base_s",
        "_ceiling_s",
        "_floor_s",
        "_least_s",
        "_measured_s",
        "_rttvar_s",
        "give_up_s",
        "rto_s",
        "shortest_s",
        "srtt_s",
    )

    def __init__(
        self,
        *,
        first_s: float = FIRST_S,
        floor_s: float = FLOOR_S,
        ceiling_s: float = CEILING_S,
        give_up_s: float = GIVE_UP_S,
    ) -> None:
        self._least_s = self._floor_s = min(floor_s, ceiling_s)
        self._ceiling_s = ceiling_s
        self.give_up_s = give_up_s
        self.srtt_s: float | None = None
        self.shortest_s = 0.0
        self._rttvar_s = 0.0
        self._base_s = self._measured_s = min(first_s, ceiling_s)
        self.rto_s = self._base_s

    def sample(self, rtt_s: float) -> None:
        """Take one round trip of something that was sent exactly once (RFC 6298 section 2, Karn's rule)."""
        srtt_s = self.srtt_s
        if srtt_s is None:
            self.srtt_s = self.shortest_s = rtt_s
            self._rttvar_s = rtt_s / 2
        else:
            self.shortest_s = min(self.shortest_s, rtt_s)
            error_s = rtt_s - srtt_s
            self._rttvar_s += (abs(error_s) - self._rttvar_s) / 4
            self.srtt_s = srtt_s + error_s / 8
        # What raised the floor passes: some twenty good round trips halve what is above the least.
        self._floor_s += (self._least_s - self._floor_s) * FLOOR_DECAY
        # Where the round trip is steady its variance goes to 0: some room must stay (the G of RFC 6298).
        self._base_s = self._measured_s = self._bounded(self.srtt_s + max(4 * self._rttvar_s, self._floor_s))
        self.rto_s = self._base_s

    def at_most(self, rtt_s: float) -> None:
        """A round trip takes no longer than this; by how much it is less cannot be told."""
        self.shortest_s = min(self.shortest_s, rtt_s)

    def back_off(self) -> None:
        """Double the wait, up to the ceiling (RFC 6298 section 5.5)."""
        self.rto_s = min(self.rto_s * 2, self._ceiling_s)

    def restart(self, longest_s: float = 0.0, shortest_s: float = 0.0) -> None:
        """There was progress, but it tells no round trip (Karn): forget the back-off.

        It took `longest_s` since the first packet that it may answer and `shortest_s` since the last. If something was
        sent again, and this is no usual round trip after that, then perhaps nothing was lost and the round trip has
        grown: until one is measured, wait as long as this took. Progress that needs no resend shortens that again.
        """
        if self.rto_s == self._base_s:
            self._base_s += (self._measured_s - self._base_s) * EASING
        elif self.srtt_s is not None and not USUAL[0] * self.shortest_s <= shortest_s <= USUAL[1] * self.srtt_s:
            self._base_s = max(self._base_s, min(self.rto_s, longest_s + self._floor_s))
        self.rto_s = self._base_s

    def limit(self, ceiling_s: float) -> None:
        """Set the ceiling to the negotiated `timeout`; it may exceed the one given at the start."""
        self._ceiling_s = ceiling_s
        self._floor_s = min(self._floor_s, ceiling_s)
        self._least_s = min(self._least_s, ceiling_s)
        self._base_s = min(self._base_s, ceiling_s)
        self._measured_s = min(self._measured_s, ceiling_s)
        self.rto_s = min(self.rto_s, ceiling_s)

    def was_needless(self) -> None:
        """A resend turned out to be needless: the peer was only slow. Double the floor, up to 200 ms, and the wait.

        While everything goes out twice, Karn's rule allows no sample. Without a longer wait that would never end where
        the round trip has grown: a window on a slow line takes longer than the one block that was measured first.
        """
        self._floor_s = min(self._floor_s * 2, FLOOR_MAX_S, self._ceiling_s)
        self._base_s = self._measured_s = self._bounded(self._base_s * 2)
        self.rto_s = max(self.rto_s, self._base_s)

    def _bounded(self, value_s: float) -> float:
        return min(max(value_s, self._floor_s), self._ceiling_s)
