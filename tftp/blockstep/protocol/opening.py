"""The client's request until its first answer.

RFC 2347 and RFC 1350 section 4: a server that knows the options answers with OACK, one that does not with DATA 1 or
ACK 0 as if nothing had been asked, and then the defaults hold. What is no answer to our request (a block of the middle
of some other transfer) is passed over. Addresses are the driver's business.
"""

from __future__ import annotations

from blockstep.protocol.errors import End, ErrorCode, LocalError, RemoteError, TransferFailed
from blockstep.protocol.options import Agreed, Wanted, accept
from blockstep.protocol.states import Input, Role, State, follow
from blockstep.protocol.timer import ResendTimer
from blockstep.protocol.wire import (
    Ack,
    Data,
    ErrorPacket,
    Opcode,
    OptionAck,
    Packet,
    Request,
    parse_untrusted,
    printable_untrusted,
)


class Opening:
    """Sends `request` until an answer comes. `wanted` are the options that stand in it.

    After `handle_answer` has returned True, `agreed` holds; `by_oack` says that a reader has to acknowledge with ACK 0,
    otherwise the answer itself is the first packet for the machine that goes on.
    """

    def __init__(
        self, request: Request, wanted: Wanted, timer: ResendTimer, *, now: float, give_up_s: float | None = None
    ) -> None:
        self.role = Role.GET if request.opcode is Opcode.RRQ else Role.PUT
        self.state = State.ASKING
        self.timer = timer
        self.agreed = Agreed()
        self.by_oack = False
        self.resends = 0
        self._packet = request.to_bytes()
        self._wanted = wanted
        self._due = True
        self._started_at = self._sent_at = now
        self._give_up_at = now + (timer.give_up_s if give_up_s is None else give_up_s)

    def poll_request(self, now: float) -> bytes | None:
        """The request when it is due, else None."""
        if not self._due or self.state is not State.ASKING:
            return None
        self._due = False
        self._sent_at = now
        return self._packet

    def handle_answer(self, datagram_untrusted: memoryview, now: float) -> bool:
        """True when this answers the request. RemoteError or TransferFailed end the transfer, LocalError after that."""
        self._require_asking()
        try:
            return self._judge(parse_untrusted(datagram_untrusted), now)
        except RemoteError:
            self.state = State.FAILED
            raise

    def _judge(self, packet: Packet, now: float) -> bool:
        if isinstance(packet, ErrorPacket):
            self.state = follow(self.role, self.state, Input.ERROR)
            raise TransferFailed(End.PEER_ERROR, printable_untrusted(packet.message) or "no text", packet.code)
        if isinstance(packet, OptionAck):
            self.agreed = accept(self._wanted, packet)
            self.by_oack = True
            self._answered(Input.OACK, now)
            return True
        if isinstance(packet, Data) and self.role is Role.GET:
            return packet.block == 1 and self._answered(Input.DATA, now)
        if isinstance(packet, Ack) and self.role is Role.PUT:
            return packet.block == 0 and self._answered(Input.ACK, now)
        raise RemoteError(ErrorCode.ILLEGAL_OPERATION, f"{type(packet).__name__.upper()} is no answer to this request")

    def _answered(self, happened: Input, now: float) -> bool:
        self.state = follow(self.role, self.state, happened)
        if self.resends == 0:
            self.timer.sample(now - self._sent_at)
        else:
            self.timer.restart()
        return True

    def _require_asking(self) -> None:
        if self.state is not State.ASKING:
            raise LocalError(f"the request is no longer open: {self.state.value}")

    def next_deadline(self) -> float:
        """When `handle_deadline` wants to be called."""
        return min(self._sent_at + self.timer.rto_s, self._give_up_at)

    def handle_deadline(self, now: float) -> None:
        """The time of `next_deadline` has come: ask again, or TransferFailed when nobody answers."""
        self._require_asking()
        if now >= self._give_up_at:
            self.state = follow(self.role, self.state, Input.GIVEN_UP)
            raise TransferFailed(End.TIMED_OUT, f"no answer for {now - self._started_at:.1f} s")
        if now >= self._sent_at + self.timer.rto_s:
            self.timer.back_off()
            self.resends += 1
            self._sent_at = now
            self._due = True
