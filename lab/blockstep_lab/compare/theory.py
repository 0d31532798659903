"""What the laws say that a transfer should reach: goodput in bits of the file per second.

Decided here: the formulas; docs/theory.md derives them and says where they are from. Steady state only: no request, no
slow start, no last block. Not known here: measurements.

Words: `p` and `q` are the chances that a DATA and an ACK are lost, independent of each other; RTT is there and back
without queue; `tx` is what one DATA block takes at the bottleneck.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from blockstep.protocol.arena import HEADER_BYTES
from blockstep.protocol.errors import LocalError
from blockstep.protocol.timer import FLOOR_S

__all__ = [
    "MATHIS_C",
    "TCP_HEADER_BYTES",
    "UDP_HEADER_BYTES",
    "Situation",
    "go_back_n",
    "go_back_n_kept",
    "link_rate",
    "mathis",
    "tcp_link_rate",
    "window_rate",
]

UDP_HEADER_BYTES = 28
"""IPv4 and UDP."""
TCP_HEADER_BYTES = 52
"""IPv4 and TCP with time stamps."""
MATHIS_C = math.sqrt(3 / 2)
"""Mathis et al. (1997), table 1, for an ACK of every segment; with RFC 3465 delayed ACKs are no different."""

# Going round more often changes nothing that could be seen.
_ROUNDS = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """A contender on a link, as far as the laws care. `rate_bit_s` None: no bottleneck. Losses are shares."""

    rtt_s: float
    blksize: int
    windowsize: int = 1
    rate_bit_s: float | None = None
    loss: float = 0.0
    loss_back: float = 0.0
    mtu: int = 1500

    def __post_init__(self) -> None:
        if not (0 <= self.loss < 1 and 0 <= self.loss_back < 1 and self.windowsize > 0 and self.blksize > 0):
            raise LocalError(f"no law holds for {self}")

    @property
    def fragments(self) -> int:
        """IP packets for one DATA block; a fragment carries a multiple of 8 bytes behind its 20 of header."""
        return math.ceil((self.blksize + HEADER_BYTES + 8) / ((self.mtu - 20) // 8 * 8))

    @property
    def block_loss(self) -> float:
        """p: a block is lost with any of its fragments."""
        return 1 - (1 - self.loss) ** self.fragments

    @property
    def tx_s(self) -> float:
        """What one DATA block takes at the bottleneck."""
        return self._tx_s(self.blksize + HEADER_BYTES + 8 + 20 * self.fragments)

    @property
    def cycle_s(self) -> float:
        """From the first block of a window to the ACK for its last, without loss."""
        return self.rtt_s + self.windowsize * self.tx_s + self._tx_s(HEADER_BYTES + UDP_HEADER_BYTES)

    def _tx_s(self, packet_bytes: int) -> float:
        return packet_bytes * 8 / self.rate_bit_s if self.rate_bit_s else 0.0


def link_rate(situation: Situation) -> float | None:
    """What the bottleneck leaves to the file, in UDP's blocks; None without a bottleneck."""
    return situation.blksize * 8 / situation.tx_s if situation.rate_bit_s else None


def tcp_link_rate(rate_bit_s: float, mtu: int = 1500) -> float:
    """What the bottleneck leaves to the file in full TCP segments."""
    return rate_bit_s * (mtu - TCP_HEADER_BYTES) / mtu


def window_rate(situation: Situation) -> float:
    """Window x blksize / RTT, without loss: one window, then silence until its ACK (RFC 7440)."""
    cycle_s = situation.cycle_s
    return situation.windowsize * situation.blksize * 8 / cycle_s if cycle_s else math.inf


def go_back_n(situation: Situation, *, timer_floor_s: float = FLOOR_S) -> float:
    """The same window under loss: a gap is reported at once and the rest sent again, silence costs a time-out.

    The mean of blocks acknowledged over the mean time from one ACK to the next (renewal reward). `timer_floor_s` is
    what the resend timer waits beyond the round trip.
    """
    advance, time_s = _renewal(situation, timer_floor_s, overlap=0.0)
    return advance * situation.blksize * 8 / time_s if time_s else math.inf


def go_back_n_kept(situation: Situation, *, timer_floor_s: float = FLOOR_S) -> float:
    """Go-back-N to a receiver that keeps the blocks beyond a gap: what is sent again is lost only if it is lost twice.

    `overlap` is how many blocks of a pass were sent in the one before, in the mean; it is found by going round.
    """
    overlap = 0.0
    for _ in range(_ROUNDS):
        overlap = situation.windowsize - _renewal(situation, timer_floor_s, overlap=overlap)[0]
    advance, time_s = _renewal(situation, timer_floor_s, overlap=overlap)
    return advance * situation.blksize * 8 / time_s if time_s else math.inf


def _renewal(situation: Situation, timer_floor_s: float, *, overlap: float) -> tuple[float, float]:
    """Blocks and seconds from one ACK to the next, in the mean; the first `overlap` blocks were sent before."""
    window, p, q = situation.windowsize, situation.block_loss, situation.loss_back
    cycle_s, tx_s = situation.cycle_s, situation.tx_s
    idle_s = cycle_s - window * tx_s
    timeout_s = cycle_s + timer_floor_s
    # All blocks are there, and only the ACK is missing: the last block again, and its ACK, have to arrive.
    heard = (1 - p) * (1 - q)
    told_s = cycle_s + (1 - heard) / heard * timeout_s
    time_s = (1 - q) * cycle_s + q * (timeout_s + told_s)
    advance = float(window)
    for missing in range(window - 1, -1, -1):
        # The block `missing` (from 0) is the first that is lost; a later one that arrives shows the gap. The very first
        # is the one for which the sender went back, so it was not kept.
        kept = min(max(overlap - missing, 0.0), 1.0) if missing else 0.0
        lost = p * (1 - kept) + p * p * kept
        seen = (1 - p ** (window - missing - 1)) * (1 - q)
        gap_s = max(idle_s + min(missing + 1 + 1 / (1 - p), window) * tx_s, window * tx_s)
        # Unseen, the timer sends the window again, with all up to `missing` already there: this very place once more.
        again = lost * (1 - seen)
        time_s = ((1 - lost) * time_s + lost * seen * gap_s + again * timeout_s) / (1 - again)
        advance = ((1 - lost) * advance + lost * seen * missing) / (1 - again)
    return advance, time_s


def mathis(situation: Situation) -> float | None:
    """MSS / RTT x C / sqrt(p) for TCP reno, and never more than the link; None without loss or round trip.

    `blksize` does not matter here: segments are as long as the MTU lets them.
    """
    if not situation.loss or not situation.rtt_s:
        return None
    segment = situation.mtu - TCP_HEADER_BYTES
    unlimited = segment * 8 / situation.rtt_s * MATHIS_C / math.sqrt(situation.loss)
    if situation.rate_bit_s is None:
        return unlimited
    return min(unlimited, tcp_link_rate(situation.rate_bit_s, situation.mtu))
