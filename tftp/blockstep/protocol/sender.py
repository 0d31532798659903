"""The sending half of a transfer: which blocks to send, and what an acknowledgement means.

Go-back-N as RFC 7440 has it, which with a window of 1 is RFC 1350. Decided here:

- The arena is a ring: block index k lives in slot (k - 1) % slots. Unacknowledged blocks stay there, so a resend reads
  nothing again and a source is only ever read forward.
- An ACK inside the window means that the receiver found a gap: the rest is sent again at once (RFC 7440 section 4).
- A repeated ACK is never answered in lock-step (RFC 1123 section 4.2.3.1, the Sorcerer's Apprentice). In a window it
  can mean that the first block was lost, so it is answered, but once; and a window that went out twice has a second
  ACK coming, which is expected and means nothing.
"""

from __future__ import annotations

import math
from collections import deque

from blockstep.protocol.arena import HEADER_BYTES, Arena
from blockstep.protocol.errors import End, LocalError, TransferFailed
from blockstep.protocol.machine import Machine
from blockstep.protocol.options import Agreed
from blockstep.protocol.states import Input, Role, State
from blockstep.protocol.timer import ResendTimer
from blockstep.protocol.wire import Ack, OptionAck, Request

# The last block is acknowledged when the file is on the peer's disk, which takes longer than a round trip. Before the
# window goes out again for that, its last block alone does (as the probe of RFC 8985 section 7), after so many waits.
SYNC_PATIENCE_S = 0.1
PROBE = 2
# An ACK that comes after less than this share of a round trip is the answer to something older.
RECENT = 0.75
# The first window may take longer than the packets that were measured before it: wait so many round trips more.
UNMEASURED = 8


class Sender(Machine):
    """Sends the blocks that a driver loads into `arena`.

    `opening` is the packet (OACK) that answers a read request with options; until ACK 0 it is all that is sent. Without
    it the first window goes out at once.
    """

    def __init__(
        self, role: Role, agreed: Agreed, timer: ResendTimer, *, arena: Arena, now: float, opening: bytes | None = None
    ) -> None:
        if arena.blksize != agreed.blksize or arena.slots < 1:
            raise LocalError("the arena does not fit the agreed blksize")
        super().__init__(role, agreed, timer, opening=opening, now=now)
        self.arena = arena
        # A window as long as the period of the numbers could not tell "all of it" from "nothing" (RFC 7440 section 4).
        self._window = min(agreed.windowsize, arena.slots, self.numbering.period - 1)
        self._base = 0 if opening else 1  # the lowest block index not yet acknowledged (0: the OACK)
        self._next = 1  # the next block index to send
        self._high = 0  # the highest block index ever sent
        self._loaded = 0  # the highest block index in the arena
        self._last: int | None = None  # the block index that ends the transfer, once known
        self._last_bytes = 0
        self._resent_to = 0  # blocks up to here went out more than once: no round trip is measured on them
        self._echoes = 0  # repeated ACKs that a window sent twice still has coming
        self._echoes_next = 0
        self._runs: deque[tuple[int, float]] = deque()  # what is on its way: the first block of each run, and when
        self._queued_s = 0.0  # how long what was sent before a resend may keep it waiting on a slow link
        self._measured = self._window == 1  # a whole window has been measured, not only its first packets
        self._probed = False  # the last block went out again alone
        self._answered = -1  # the base for which a repeated ACK was answered

    # Loading: the driver moves bytes of the file into the ring.

    @property
    def wants_load(self) -> bool:
        """The file has more, and either half of the ring is free, so that loading now costs the peer no time, or less
        than a window is loaded: a receiver that waits for the whole window would answer no part of it.
        """
        ahead = self._loaded - self._base + 1
        return self._last is None and (2 * ahead <= self.arena.slots or ahead < self._window)

    def room(self) -> tuple[int, int]:
        """The free run of the ring that is to be loaded next, as (first slot, number of slots)."""
        slots = self.arena.slots
        slot = self._loaded % slots
        oldest = self._base if self._base > 0 else 1
        return slot, min(oldest + slots - 1 - self._loaded, slots - slot)

    def loaded(self, slot: int, asked: int, got_bytes: int) -> None:
        """`got_bytes` were read into the `asked` slots from `slot` on; fewer than fit means that the file ended."""
        blksize = self.arena.blksize
        count = asked
        if got_bytes < asked * blksize:
            count = got_bytes // blksize + 1
            self._last = self._loaded + count
            self._last_bytes = got_bytes % blksize
        self.arena.stamp(slot, self._loaded + 1, count, self.numbering)
        self._loaded += count

    # Output.

    def poll_send(self, now: float, limit: int) -> tuple[int, int] | None:  # hot path
        """The next run of at most `limit` blocks to send, as byte offsets (start, end) in the arena; None: wait."""
        index = self._next
        base = self._base
        count = min(base + self._window - 1, self._loaded) - index + 1
        if count <= 0 or base == 0 or self.finished:
            return None
        slots = self.arena.slots
        slot = (index - 1) % slots
        count = min(count, limit, slots - slot)
        stride = self.arena.stride
        start = slot * stride
        end = start + count * stride
        top = index + count - 1
        if top == self._last:
            end -= self.arena.blksize - self._last_bytes
        if base > self._high:
            self._progress_at = now  # nothing was on its way: what was waited for is our own file
        if top > self._high:
            self._high = top
        if index <= self._resent_to:
            self.stats.resends += min(count, self._resent_to - index + 1)
        self._next = top + 1
        self._wait_from = now
        self._note_run(index, now)
        return start, end

    def _note_run(self, index: int, now: float) -> None:  # hot path
        """Blocks from `index` on go out; runs that this replaces or that are acknowledged are forgotten."""
        runs = self._runs
        while runs and runs[-1][0] >= index:
            runs.pop()
        if not runs or runs[-1][1] != now:
            runs.append((index, now))
        while len(runs) > 1 and runs[1][0] <= self._base:
            runs.popleft()

    # Input.

    def handle_datagram(self, memory_untrusted: memoryview, now: float) -> None:  # hot path
        """Take one datagram from the peer. RemoteError or TransferFailed end the transfer."""
        is_ack = len(memory_untrusted) == HEADER_BYTES and memory_untrusted[1] == 4 and memory_untrusted[0] == 0
        if is_ack and self.state is State.MOVING:
            self._handle_ack(memory_untrusted[2] << 8 | memory_untrusted[3], now)
            return
        self._require_open()
        packet = self._parse_control(memory_untrusted)
        if isinstance(packet, Request):
            self._hear_request(bytes(memory_untrusted))
        elif isinstance(packet, Ack):
            self._handle_ack(packet.block, now)
        elif isinstance(packet, OptionAck) and self._base == 1:
            # Our answer to the first OACK is on its way or lost: an OACK again is an ACK 0 again.
            self._handle_ack(0, now)

    def _hear_request(self, datagram_untrusted: bytes) -> None:
        """The same once more is nothing new. Who asks for another, when all has been sent, has it or wants it no more.

        What we sent again now would look like the beginning of the other file.
        """
        if self.request is not None and self._high == self._last and datagram_untrusted != self.request:
            self.next_request = datagram_untrusted
            self.fail()
            raise TransferFailed(End.PEER_GONE, "asked for something else without acknowledging the end")

    def _handle_ack(self, wire: int, now: float) -> None:
        base = self._base
        index = self.numbering.at_or_after(wire, base - 1 if base else 0)
        if base <= index <= self._high:
            self._advance(index, now)
        elif index == base - 1:
            self._handle_repeated(now)
        else:
            self.stats.ignored += 1

    def _advance(self, index: int, now: float) -> None:
        """Blocks up to `index` have arrived."""
        if self._base == 0:
            self._prove(now)
            return
        self._queued_s = 0.0
        if index > self._resent_to and index == self._high:
            self.timer.sample(now - self._wait_from)
            self._measured = self._measured or index > self._base
        else:
            if index > self._resent_to:
                self.timer.at_most(now - self._sent_at(index))
            self.timer.restart(now - self._progress_at, now - self._wait_from)
        self.proven = True
        self._base = index + 1
        self._progress_at = now
        self.stats.blocks = index
        self.stats.payload_bytes = index * self.arena.blksize
        self._echoes = self._echoes_next
        self._echoes_next = 0
        if index == self._last:
            self._follow(Input.LAST)
            self.stats.payload_bytes += self._last_bytes - self.arena.blksize
            return
        if index < self._high and not self._is_on_its_way(index + 1, now):
            # A gap inside the window: what is already on its way after it may be thrown away, and is not answered.
            self.stats.gaps += 1
            self._go_back(index + 1)
        elif self._next <= index:
            self._next = index + 1

    def _is_on_its_way(self, index: int, now: float) -> bool:
        """Block `index` went out so lately that no ACK without it can be an answer to that.

        Whoever goes back for such an ACK has two passes on their way then, and sends every block twice to the end.
        """
        return now - self._sent_at(index) < RECENT * (self.timer.shortest_s + self._queued_s)

    def _sent_at(self, index: int) -> float:
        """When a block that is not acknowledged yet went out last."""
        return next((at for first, at in reversed(self._runs) if first <= index), -math.inf)

    def _prove(self, now: float) -> None:
        """ACK 0 for our OACK: the peer is where it says it is."""
        self._opening_answered(now)
        self._base = 1

    def _handle_repeated(self, now: float) -> None:
        self.stats.duplicates += 1
        if self._echoes > 0:
            self._echoes -= 1
            # The second ACK of a block that went out twice comes soon after the first. Later it is the peer's own
            # resend, for what we sent next was lost: no reason to become slower.
            if now - self._progress_at <= 2 * (self.timer.srtt_s or self.timer.rto_s) + 0.001:
                self.stats.needless += 1
                self.timer.was_needless()
            return
        if self._window == 1 or self._high < self._base:
            return
        if self._is_on_its_way(self._base, now):
            return
        # Once for each base; again only when a whole round trip has passed since the last block went out.
        waited_s = now - self._wait_from
        if self._answered == self._base and waited_s < (self.timer.srtt_s or self.timer.rto_s):
            return
        self._answered = self._base
        self.stats.gaps += 1
        self._send_window_again()

    def _send_window_again(self) -> None:
        if self._high >= self._base:
            self._go_back(self._base)
            self._echoes_next += 1

    def _go_back(self, index: int) -> None:
        """Send again from block `index` on."""
        if self.timer.srtt_s is not None:
            self._queued_s = (self.timer.srtt_s - self.timer.shortest_s) * (self._next - index) / self._window
        self._resent_to = self._high
        self._next = index

    # Time.

    def stood_still(self, seconds: float) -> None:
        """As every machine; and what is on its way is not measured."""
        super().stood_still(seconds)
        self._resent_to = max(self._resent_to, self._high)

    def next_deadline(self) -> float:
        """When `handle_deadline` wants to be called: never while it is our own file that keeps us waiting."""
        if self._base > self._loaded and self._last is None:
            return math.inf
        return super().next_deadline()

    def _wait_s(self) -> float:
        rto_s = self.timer.rto_s + self._queued_s
        if not self._measured and self._base > 0:
            rto_s += UNMEASURED * self.timer.shortest_s
        if self._high != self._last:
            return rto_s
        patient_s = max(rto_s, SYNC_PATIENCE_S)
        return patient_s if self._probed else min(PROBE * rto_s, patient_s)

    def handle_deadline(self, now: float) -> None:
        """The time of `next_deadline` has come: send again, or TransferFailed when the peer was silent for too long."""
        if not self._timed_out(now):
            return
        if self._base == 0:
            self._opening_due = True
        elif self._high == self._last and not self._probed:
            # Perhaps only the last ACK was lost, or the last block, or the peer's disk is slow: one block will tell.
            self._probed = True
            self._resent_to = self._next = self._high
            self._echoes_next += 1
        else:
            self._send_window_again()
