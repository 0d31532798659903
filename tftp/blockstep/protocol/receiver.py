"""The receiving half of a transfer: which segments to take, and when to acknowledge.

Go-back-N as RFC 7440 has it, which with a window of 1 is RFC 1350. Decided here:

- Only the next block is taken; a burst of next blocks is recognised by comparing byte planes, any other burst is looked
  at one segment at a time, with the same result.
- A gap is acknowledged at once, with the last block in order, but once for each pass of the sender: the rest of a
  window that lost its first block asks for nothing more.
- The last block of a pass that brought nothing new is acknowledged again, for our ACK may be lost; a second copy that
  our own resend has called for is not (RFC 1123 section 4.2.3.1).
- The final ACK says "on disk": it is due only after the driver has called `settled`. After it the machine dallies.
"""

from __future__ import annotations

from blockstep.protocol.arena import HEADER_BYTES
from blockstep.protocol.errors import ErrorCode, LocalError, RemoteError
from blockstep.protocol.machine import Machine
from blockstep.protocol.options import Agreed
from blockstep.protocol.states import Input, Role, State
from blockstep.protocol.timer import ResendTimer
from blockstep.protocol.wire import Data

_ZEROS = bytes(65536)
_DATA_LOW = b"\x03" * 65536
# Our ACK is resent later than a sender of our own kind resends its DATA, so that a loss is mended once.
PATIENCE = 2.0
# How long to stay after the last ACK: (on a clean path, after a loss), and four times that at most. A person waits for
# a client; nobody waits for a server's child, and on the other side may be a sender with a timer of seconds.
DALLY_S = {Role.GET: (0.02, 0.25), Role.SERVE_WRITE: (0.25, 2.5)}
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
        self._gap_seen = 0  # the highest block index that was acknowledged as a gap, 0: none
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
        if (stride != self.stride and (count > 1 or not short)) or self.complete:
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

    def receive_segment(self, datagram_untrusted: memoryview, now: float) -> bool:
        """Take one datagram; True when it is the next block, whose payload (from byte 4 on) is to be written."""
        self._require_open()
        packet = self._parse_control(datagram_untrusted)
        if not isinstance(packet, Data):
            if self.state is State.MOVING and self._next == 1 and self.role is Role.GET:
                self._ack_due = True  # an OACK again: our ACK 0 was lost
            return False
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
            self.stats.payload_bytes += size
            self._accept(index, size < self.agreed.blksize, now)
            return True
        if 0 < index < self._next:
            self._handle_repeated(index)
        elif index > self._next and not self.complete:
            self._handle_gap(index)
        else:
            self.stats.ignored += 1
        return False

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
        self._progress_at = self._wait_from = now
        if last:
            self.complete = True
            self.stats.blocks = top
        elif top >= self._ack_at:
            self._ack_due = True

    def _handle_repeated(self, index: int) -> None:
        """A block that is here already."""
        self.stats.duplicates += 1
        newest = self._next - 1
        before = index < self._seen  # the very same block again is more likely a copy that the network made
        again = index <= self._seen
        self._seen = index
        if self.complete:
            # Any block of a pass says that our last ACK was lost, and one answer to a pass is enough.
            if again and self.state is State.DALLYING:
                self._lossy = self._ack_due = True
            return
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
            self._ack_due = True

    def _handle_gap(self, index: int) -> None:
        """A block beyond the next one: something is missing."""
        if self._window == 1 or index >= self._next + 2 * self._window:
            self.stats.ignored += 1
            return
        again = index <= self._gap_seen
        if self._gap_seen == 0 or again:
            self.stats.gaps += 1
            self._lossy = True
            self._ack_due = True
        self._gap_seen = self._seen = index

    # Output.

    def poll_ack(self, now: float) -> int | None:  # hot path
        """The wire number to acknowledge, when an ACK is due; call it only after what was accepted has been written."""
        if not self._ack_due or self.finished or (self.complete and self.state is not State.DALLYING):
            return None
        self._ack_due = False
        index = self._next - 1
        self._sampling = index != self._acked
        if not self._sampling:
            self.stats.resends += 1
            if self._window == 1:
                self._surplus += 1
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
        return super().next_deadline()

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
        return min(max(least_s, 2 * self.timer.rto_s), DALLY_MOST * least_s)
