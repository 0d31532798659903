"""What a sender and a receiver have in common: state, timer, counters and the end.

A machine is told what arrived and what time it is, and says what to send and when it wants to be called again. It does
no IO and has no clock; times are seconds on whatever monotonic clock the driver uses. After an error it stays FAILED
and refuses further calls.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import NoReturn

from blockstep.protocol.errors import End, ErrorCode, LocalError, RemoteError, TransferFailed
from blockstep.protocol.numbers import Numbering
from blockstep.protocol.options import Agreed
from blockstep.protocol.states import Input, Role, State, follow
from blockstep.protocol.timer import ResendTimer
from blockstep.protocol.wire import (
    Ack,
    Data,
    ErrorPacket,
    OptionAck,
    Packet,
    Request,
    parse_untrusted,
    printable_untrusted,
)


@dataclass(slots=True)
class TransferStats:
    """Counters of one transfer.

    `payload_bytes` counts bytes of the file as they travelled, each once; `resends` are DATA (sender) or ACK (receiver)
    packets that went out again; `needless` those that turned out not to have been needed.
    """

    payload_bytes: int = 0
    blocks: int = 0
    resends: int = 0
    needless: int = 0
    timeouts: int = 0
    gaps: int = 0
    duplicates: int = 0
    ignored: int = 0


UNPROVEN_SENDS = 3
# After the third, however short a `timeout` was agreed: the answer may have a long way.
UNPROVEN_LAST_WAIT_S = 4.0


class Machine(ABC):
    """Base of `Sender` and `Receiver`. Once `finished`, `poll_*` gives None and every `handle_*` raises LocalError.

    `opening` is the packet that answers the peer's request (OACK, or ACK 0 for a write request). Until the peer proves
    by an answer that it is where its packets say, nothing goes out more than `unproven_sends` times (three, or
    what the owner sets), so that a forged request cannot turn a server on somebody else.
    """

    def __init__(self, role: Role, agreed: Agreed, timer: ResendTimer, *, opening: bytes | None, now: float) -> None:
        self.role = role
        self.state = State.OFFERED if opening else State.MOVING
        self.agreed = agreed
        self.timer = timer
        self.numbering = Numbering(agreed.rollover)
        self.stats = TransferStats()
        self.proven = role is Role.GET or role is Role.PUT
        self._opening = opening
        self._opening_due = opening is not None
        self.unproven_sends = UNPROVEN_SENDS
        self.request: bytes | None = None  # the peer's, on a port that all its transfers share
        self.next_request = b""  # the peer's, if it came when all was over
        self._unproven_resends = 0
        self._may_measure = True  # how long the first answer takes
        self._progress_at = now
        self._wait_from = now

    @property
    def finished(self) -> bool:
        """True when nothing more is to be sent or awaited."""
        return self.state is State.DONE or self.state is State.FAILED

    @property
    def delivered(self) -> bool:
        """True when the file is known to be whole at its destination."""
        return self.state is State.DALLYING or self.state is State.DONE

    def next_deadline(self) -> float:
        """When `handle_deadline` wants to be called, on the driver's clock."""
        return min(self._resend_at(), self._progress_at + self.timer.give_up_s)

    def _resend_at(self) -> float:
        wait_s = self._wait_s()
        if not self.proven and self._unproven_resends == self.unproven_sends - 1:
            wait_s = max(wait_s, UNPROVEN_LAST_WAIT_S)
        return self._wait_from + wait_s

    def _wait_s(self) -> float:
        """How long to wait for an answer to what was sent last."""
        return self.timer.rto_s

    def stood_still(self, seconds: float) -> None:
        """We did something else for so long and heard nobody: that is no silence of the peer's.

        Its answer may have waited for us, so the round trip under way says nothing.
        """
        self._progress_at += seconds
        self._wait_from += seconds
        self._may_measure = False

    def fail(self) -> None:
        """End the transfer for a reason of the driver's: its file, a signal, its patience."""
        self.state = State.FAILED

    def _offended(self) -> None:
        """The peer broke the rules. A file that is whole stays whole, whatever the peer says afterwards."""
        self.state = State.DONE if self.delivered else State.FAILED

    def _follow(self, happened: Input) -> None:
        self.state = follow(self.role, self.state, happened)

    @abstractmethod
    def handle_deadline(self, now: float) -> None:
        """The time of `next_deadline` has come: send again, or TransferFailed when the peer was silent for too long."""

    def poll_opening(self, now: float) -> bytes | None:
        """The packet that answers the request, when it is due, else None."""
        if not self._opening_due or self.state is not State.OFFERED:
            return None
        self._opening_due = False
        self._wait_from = now
        return self._opening

    def _opening_answered(self, now: float) -> None:
        """The first answer to our opening packet."""
        if self._unproven_resends == 0 and self._may_measure:
            self.timer.sample(now - self._wait_from)
        else:
            self.timer.restart()
        self.proven = True
        self._opening_due = False
        self._progress_at = now
        self._follow(Input.FIRST)

    def _timed_out(self, now: float) -> bool:
        """True when something is to be sent again; TransferFailed when the peer has been silent for too long."""
        self._require_open()
        if now >= self._progress_at + self.timer.give_up_s:
            self._give_up(now)
        if now < self._resend_at():
            return False
        if not self.proven:
            self._unproven_resends += 1
            if self._unproven_resends >= self.unproven_sends:
                self._give_up(now)
        self.stats.timeouts += 1
        self.timer.back_off()
        self._wait_from = now
        return True

    def _give_up(self, now: float) -> NoReturn:
        self._follow(Input.GIVEN_UP)
        raise TransferFailed(End.TIMED_OUT, f"no progress for {now - self._progress_at:.1f} s", ErrorCode.UNDEFINED)

    def _require_open(self) -> None:
        if self.finished:
            raise LocalError(f"the transfer is {self.state.value}")

    def _parse_control(self, datagram_untrusted: memoryview) -> Packet:
        """Parse what is not on the fast path, and let the table judge it.

        An ERROR packet ends the transfer (TransferFailed), well if the file is whole already and we only dallied.
        """
        try:
            packet = parse_untrusted(datagram_untrusted)
            self._follow(_INPUT_OF[type(packet)])
        except RemoteError:
            self._offended()
            raise
        if isinstance(packet, Request) and self.finished:
            self.next_request = bytes(datagram_untrusted)
        if isinstance(packet, ErrorPacket):
            said = printable_untrusted(packet.message) or "no text"
            raise TransferFailed(End.PEER_ERROR, said, packet.code)
        return packet


_INPUT_OF: dict[type, Input] = {
    Request: Input.REQUEST,
    Data: Input.DATA,
    Ack: Input.ACK,
    OptionAck: Input.OACK,
    ErrorPacket: Input.ERROR,
}
