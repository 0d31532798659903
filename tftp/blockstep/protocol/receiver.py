"""The receiving half of a transfer: which segments to take, and when to acknowledge.

Go-back-N as RFC 7440 has it, which with a window of 1 is RFC 1350. Decided here:

- A burst of next blocks is recognised by comparing byte planes, any other burst is looked at one segment at a time,
  with the same result. Blocks that come before their turn are kept, less than a window of them and no more than a fixed
  number of bytes, until the gap before them closes. A sender that goes back sends them again for nothing, and need not.
- A gap is acknowledged with the last block in order, once for each pass of the sender: the rest of a window that lost
  its first block asks for nothing more. At once, unless the path is known to change the order of packets (`order`).
- The last block of a pass that brought nothing new is acknowledged again, for our ACK may be lost; a second copy that
  our own resend has called for is not (RFC 1123 section 4.2.3.1).
- The final ACK says "on disk": it is due only after the driver has called `settled`. After it the machine dallies.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from blockstep.protocol.arena import HEADER_BYTES
from blockstep.protocol.errors import ErrorCode, LocalError, RemoteError
from blockstep.protocol.machine import Machine
from blockstep.protocol.options import Agreed
from blockstep.protocol.order import Order
from blockstep.protocol.states import Input, Role, State
from blockstep.protocol.timer import ResendTimer
from blockstep.protocol.wire import Data

_ZEROS = bytes(65536)
_DATA_LOW = b"\x03" * 65536
# What came early is kept up to this, whatever window was agreed; so many bytes a block costs beside its payload.
EARLY_BYTES = 8 * 1024 * 1024
EARLY_OVERHEAD_BYTES = 200
# Our ACK is resent later than a sender of our own kind resends its DATA, so that a loss is mended once.
PATIENCE = 1.5
# How long to stay after the last ACK: (on a clean path, after a loss), and four times that or two round trips at most.
# A person waits for a client, and a sender of our kind asks soon (`Sender._wait_s`); nobody waits for a server's child,
# and on the other side may be a sender with a timer of seconds.
DALLY_S = {Role.GET: (0.04, 0.25), Role.SERVE_WRITE: (1.25, 5.0)}
DALLY_RTO = 3
DALLY_MOST = 4


class Receiver(Machine):
    """Takes DATA; the driver writes what is accepted and then asks `poll_ack`.

    `opening` is the answer to a write request (OACK or ACK 0). A client passes None, and `first_ack` when the server's
    OACK has to be acknowledged.
    """

    def __init__(
        self,
        role: Role,
        agreed: Agreed,
        timer: ResendTimer,
        *,
        now: float,
        opening: bytes | None = None,
        first_ack: bool = False,
    ) -> None:
        super().__init__(role, agreed, timer, opening=opening, now=now)
        self.stride = HEADER_BYTES + agreed.blksize
        self.complete = False  # the last block has been accepted
        self._window = agreed.windowsize
        self._next = 1  # the block index wanted
        self._ack_at = self._window  # the block index that ends the sender's window
        self._ack_due = first_ack
        self._acked = -1  # the block index of the last ACK that went out
        self._sampling = False  # the next block answers an ACK that was sent once
        self._seen = 0  # the block index seen last, in order or not
        self._early: dict[int, bytes] = {}  # payloads of blocks beyond the next one
        self._early_most = min(self._window - 1, EARLY_BYTES // (agreed.blksize + EARLY_OVERHEAD_BYTES))
        self._gap_seen = 0  # the block index that was seen last beyond the next one, 0: none
        self._gap_ack_at = math.inf  # when the gap is to be acknowledged
        self._order = Order(timer)
        self._surplus = 0  # lock-step: ACKs sent again for the block before `_next`
        self._echoes = 0  # lock-step: copies of that block which our surplus ACKs have coming
        self._lossy = False

    # Input.

    def receive_burst(self, memory: bytearray, got: int, stride: int, now: float) -> int:  # hot path
        """How many segments of a burst are accepted as the next blocks, by one comparison; 0: ask one at a time.

        `memory[:got]` holds segments `stride` bytes apart, of which only the last may be shorter. All are accepted or
        none. The payload of segment i is `memory[i * stride + 4 : min((i + 1) * stride, got)]`.
        """
        if got < HEADER_BYTES:
            return 0
        count, tail = divmod(got, stride)
        if tail:
            count += 1
        short = got - (count - 1) * stride < self.stride
        if (stride != self.stride and (count > 1 or not short)) or self.complete or self._early:
            return 0
        index = self._next
        high, low = self.numbering.planes(index, count)
        if (
            memory[2:got:stride] != high
            or memory[3:got:stride] != low
            or memory[1:got:stride] != _DATA_LOW[:count]
            or memory[0:got:stride] != _ZEROS[:count]
        ):
            return 0
        if self.state is not State.MOVING and not self._may_begin(now):
            return 0
        self._accept(index + count - 1, short, now)
        if short:
            self.stats.payload_bytes += got - count * HEADER_BYTES
        else:
            self.stats.payload_bytes += count * self.agreed.blksize
        return count

    def receive_segment(self, datagram_untrusted: memoryview, now: float) -> Sequence[memoryview]:
        """Take one datagram; the payloads that are to be written because of it, in order: none unless it is the next
        block, else its own and those of the blocks behind it that had come too early.
        """
        self._require_open()
        packet = self._parse_control(datagram_untrusted)
        if not isinstance(packet, Data):
            if self.state is State.MOVING and self._next == 1 and self.role is Role.GET:
                self._ack_due = True  # an OACK again: our ACK 0 was lost
            return ()
        size = len(packet.payload)
        if size > self.agreed.blksize:
            self._offended()
            raise RemoteError(
                ErrorCode.ILLEGAL_OPERATION, f"DATA of {size} bytes where blksize is {self.agreed.blksize}"
            )
        index = self.numbering.nearest(packet.block, self._next)
        if index == self._next and not self.complete:
            if self.state is State.OFFERED:
                self._opening_answered(now)
            return self._take(packet.payload, now)
        if 0 < index < self._next:
            self._handle_repeated(index, now)
        elif index > self._next and not self.complete:
            self._handle_early(index, packet.payload, now)
        else:
            self.stats.ignored += 1
        return ()

    def _may_begin(self, now: float) -> bool:
        if self.state is not State.OFFERED:
            return False
        self._opening_answered(now)
        return True

    def _accept(self, top: int, last: bool, now: float) -> None:  # hot path
        """Blocks up to `top` are taken."""
        if self._sampling:
            self.timer.sample(now - self._wait_from)
            self._sampling = False
        else:
            self.timer.restart()
        # Copies of the block that our surplus ACKs asked for can only be copies of the first that came after them.
        self._echoes = self._surplus if top == self._next else 0
        self._surplus = 0
        self._next = top + 1
        self._seen = top
        self._gap_seen = 0
        self._gap_ack_at = math.inf
        self._progress_at = self._wait_from = now
        if last:
            self.complete = True
            self.stats.blocks = top
        elif top >= self._ack_at:
            self._end_window(now)

    def _end_window(self, now: float) -> None:
        """All of the sender's window is here. Where packets overtake each other we may be wrong about where it ends:
        the sender may have gone back before it heard our last ACK, and then there is more on its way.
        """
        if self._ack_at == self._acked + self._window or not self._order.patience_s:
            self._ack_due = True
        else:
            self._gap_ack_at = now + self._order.patience_s

    def _take(self, payload: memoryview, now: float) -> list[memoryview]:
        """The next block has come: it, and what had come early behind it."""
        taken = [payload]
        index = self._next
        if self._gap_seen:
            self._order.came_late(now)
        while len(taken[-1]) == self.agreed.blksize and (early := self._early.pop(index + 1, None)) is not None:
            taken.append(memoryview(early))
            index += 1
        last = len(taken[-1]) < self.agreed.blksize
        self.stats.payload_bytes += sum(map(len, taken))
        self._accept(index, last, now)
        if last:
            self._early.clear()
        if self._early and self._order.patience_s:
            self._gap_seen = index
            self._open_gap(now)  # perhaps all of it is here, and nothing more would say so
        return taken

    def _handle_repeated(self, index: int, now: float) -> None:
        """A block that is here already."""
        self.stats.duplicates += 1
        newest = self._next - 1
        before = index < self._seen  # the very same block again is more likely a copy that the network made
        again = index <= self._seen
        self._seen = index
        if self.complete:
            # Any block of a pass says that our last ACK was lost, and one answer to a pass is enough.
            if again and self.state is State.DALLYING and not self._order.too_soon(now):
                self._lossy = self._ack_due = True
            return
        if self._window > 1 and self._order.too_soon(now):
            return  # a straggler: who misses our ACK cannot have sent again yet
        top = index + self._window - 1
        if (before or self._window == 1) and newest <= top < self._ack_at:
            self._ack_at = top  # the sender has gone back: its window now ends earlier than ours
        if index != newest:
            return
        if self._echoes > 0:
            self._echoes -= 1
            self.stats.needless += 1
            return
        self._lossy = True
        if self._ack_at <= newest:
            self._end_window(now)

    def _handle_early(self, index: int, payload: memoryview, now: float) -> None:
        """A block beyond the next one: something is missing, or only late."""
        if self._window == 1 or index >= self._next + 2 * self._window:
            self.stats.ignored += 1
            return
        if self.state is State.OFFERED:
            self._opening_answered(now)
        if index in self._early:
            self.stats.duplicates += 1
        elif index <= self._next + self._early_most:
            self._early[index] = bytes(payload)
        self._seen = index
        # The first sign of this gap; or the sender's pass has come again, and what is missing not with it.
        if self._gap_ack_at == math.inf and (self._gap_seen == 0 or index <= self._gap_seen):
            self._open_gap(now)
        self._gap_seen = index

    def _open_gap(self, now: float) -> None:
        self._gap_ack_at = self._order.gap_opened(now)

    # Output.

    def poll_ack(self, now: float) -> int | None:  # hot path
        """The wire number to acknowledge, when an ACK is due; call it only after what was accepted has been written."""
        gap = now >= self._gap_ack_at
        if not (self._ack_due or gap) or self.finished or (self.complete and self.state is not State.DALLYING):
            return None
        index = self._next - 1
        again = index == self._acked
        if again:
            self.stats.resends += 1
            if self._window == 1:
                self._surplus += 1
        if gap:
            self.stats.gaps += 1
            self._lossy = True
        # What answers an ACK for a gap may be the block itself, which was only late: no round trip (Karn).
        self._sampling = not (again or gap)
        self._order.acknowledged(now, asking=not self._sampling)
        if gap:
            self._gap_ack_at = self._order.ask_again_at(now)
        self._ack_due = False
        self._acked = index
        self._ack_at = index + self._window
        self._wait_from = now
        return self.numbering.wire(index)

    def settled(self, now: float) -> None:
        """The driver has the whole file on disk under its name: the final ACK is due, and then we dally."""
        if not self.complete or self.state is not State.MOVING:
            raise LocalError(f"the last block has not just been received: the transfer is {self.state.value}")
        self._follow(Input.LAST)
        self._ack_due = True
        self._progress_at = self._wait_from = now

    # Time.

    def next_deadline(self) -> float:
        """When `handle_deadline` wants to be called."""
        if self.state is State.DALLYING:
            return min(self._wait_from + self._dally_s(), self._progress_at + self.timer.give_up_s)
        return min(self._gap_ack_at, super().next_deadline())

    def handle_deadline(self, now: float) -> None:
        """The time of `next_deadline` has come: acknowledge again, end the dallying, or TransferFailed for silence."""
        if self.state is State.DALLYING:
            if now >= self.next_deadline():  # also for a peer that never stops to repeat itself
                self._follow(Input.QUIET)
            return
        if not self._timed_out(now):
            return
        self._lossy = True
        if self.state is State.OFFERED:
            self._opening_due = True
        else:
            self._ack_due = True

    def _wait_s(self) -> float:
        rto_s = self.timer.rto_s
        return rto_s if self.state is State.OFFERED else rto_s * PATIENCE

    def _dally_s(self) -> float:
        """RFC 1350 section 6: stay as long as a peer that missed our last ACK would need to say so."""
        least_s = DALLY_S[self.role][self._lossy]
        most_s = max(DALLY_MOST * least_s, 2 * (self.timer.srtt_s or 0.0))
        return min(max(least_s, DALLY_RTO * self.timer.rto_s), most_s)
