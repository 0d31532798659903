"""Why something was sent again.

Rules of this file. A capture shows no timers, so a cause is what the order and the timing of packets leave possible:

* A side that repeats itself without having heard anything since its last packet did so because its timer ran out. So it
  did if what it heard is older than its usual time to answer (four times the median, at least 10 ms): seen from the far
  end of a link, that time holds a round trip.
* A DATA packet that goes on where an ACK left off answers a *gap ACK* with a window, a *duplicate ACK* in lock-step.
  Each ACK is answered once: two equal ACKs and then two equal DATA are one answer each.
* Both sides' timers often end together: in lock-step the ACK is blamed only if the block was sent more recently than
  the sender's timer is long. That length is the shortest pure timer resend of the transfer, else the `timeout` that
  was granted, else half a second.
* No timer is shorter than 10 ms: what comes again sooner, with nothing to answer, was doubled by the network or answers
  a packet that was doubled behind the point of capture.
* A block that goes on with a run of resent blocks has the cause of the run.
* A packet that the capturing link lost was sent, but nobody heard it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from statistics import median

from blockstep.protocol.wire import Opcode, Request
from blockstep_lab.trace.transfer import Side, TracedPacket, Transfer, Why

__all__ = ["explain_resends"]

_ANSWER_NS = 10_000_000
_ANSWERS_MOST = 1000
_TIMER_NS = 500_000_000
_TIMER_SHORTEST_NS = 10_000_000
# Unanswered packets that are remembered for each side; older ones have been ignored.
_UNANSWERED_MOST = 64


def explain_resends(transfer: Transfer) -> None:
    """Set `why` in every packet of the transfer that repeats an earlier one. Block indexes must be there."""
    answers = _answer_limits(transfer)
    timer_ns = _timer_ns(transfer)
    walk = _Walk(transfer, answers, timer_ns)
    for packet in transfer.own_packets:
        walk.step(packet)


def _is_acknowledgement(packet: TracedPacket) -> bool:
    return packet.opcode in (Opcode.ACK, Opcode.OACK)


class _Unanswered:
    """What one side has heard and not yet answered, oldest first."""

    def __init__(self) -> None:
        self._heard: deque[TracedPacket] = deque(maxlen=_UNANSWERED_MOST)

    def add(self, packet: TracedPacket) -> None:
        self._heard.append(packet)

    def take_acknowledgement(self, index: int) -> TracedPacket | None:
        """The oldest unanswered ACK (or OACK) of block `index`; it and what came before it count as answered."""
        if not any(heard.index == index and _is_acknowledgement(heard) for heard in self._heard):
            return None
        while True:
            heard = self._heard.popleft()
            if heard.index == index and _is_acknowledgement(heard):
                return heard

    def take_all(self) -> TracedPacket | None:
        """The newest; all count as answered."""
        newest = self._heard[-1] if self._heard else None
        self._heard.clear()
        return newest


class _Walk:
    """One pass over the packets with what each side has said and heard so far."""

    def __init__(self, transfer: Transfer, answers: dict[Side, float], timer_ns: float) -> None:
        self._transfer = transfer
        self._answers = answers
        self._timer_ns = timer_ns
        self._last_said: dict[Side, TracedPacket] = {}
        self._heard = {Side.CLIENT: _Unanswered(), Side.SERVER: _Unanswered()}
        self._sent_ns: dict[int, int] = {}
        self._highest = {Side.CLIENT: -1, Side.SERVER: -1}
        self._requests = 0

    def step(self, packet: TracedPacket) -> None:
        if isinstance(packet.content, Request):
            packet.why = Why.TIMER if self._requests else None
            self._requests += 1
        elif packet.opcode == Opcode.DATA and packet.index is not None:
            self._step_data(packet, packet.index)
        elif packet.index is not None:
            self._step_acknowledgement(packet, packet.index)
        self._last_said[packet.side] = packet
        if not packet.lost:
            self._heard[packet.side.other].add(packet)

    def _step_data(self, packet: TracedPacket, index: int) -> None:
        heard = self._heard[packet.side].take_acknowledgement(index - 1)
        if index in self._sent_ns:
            packet.why = self._why_data(packet, index, heard)
        self._sent_ns[index] = packet.time_ns

    def _why_data(self, packet: TracedPacket, index: int, heard: TracedPacket | None) -> Why:
        before = self._last_said.get(packet.side)
        if before is not None and before.why is not None and before.index == index - 1:
            return before.why
        since_ns = packet.time_ns - self._sent_ns[index]
        if heard is None or not self._is_prompt(packet, heard):
            return Why.TIMER if since_ns >= _TIMER_SHORTEST_NS else Why.COPY
        if self._transfer.terms.windowsize > 1:
            return Why.GAP_ACK
        return Why.DUPLICATE_ACK if since_ns < self._timer_ns else Why.TIMER

    def _step_acknowledgement(self, packet: TracedPacket, index: int) -> None:
        heard = self._heard[packet.side].take_all()
        if index <= self._highest[packet.side]:
            packet.why = self._why_acknowledgement(packet, index, heard)
        self._highest[packet.side] = max(self._highest[packet.side], index)

    def _why_acknowledgement(self, packet: TracedPacket, index: int, heard: TracedPacket | None) -> Why:
        if heard is None or not self._is_prompt(packet, heard):
            before = self._last_said.get(packet.side)
            is_copy = before is not None and packet.time_ns - before.time_ns < _TIMER_SHORTEST_NS
            return Why.COPY if is_copy else Why.TIMER
        if isinstance(heard.content, Request):
            return Why.DUPLICATE_REQUEST
        if heard.index is not None and heard.index <= index:
            return Why.DUPLICATE_DATA
        return Why.GAP_ACK if self._transfer.terms.windowsize > 1 else Why.TIMER

    def _is_prompt(self, packet: TracedPacket, heard: TracedPacket) -> bool:
        return packet.time_ns - heard.time_ns <= self._answers[packet.side]


def _answer_limits(transfer: Transfer) -> dict[Side, float]:
    """How long each side may take for an answer to count as one, in nanoseconds."""
    times: dict[Side, list[int]] = {Side.CLIENT: [], Side.SERVER: []}
    highest = {Side.CLIENT: -1, Side.SERVER: -1}
    before: TracedPacket | None = None
    for packet in transfer.own_packets:
        if packet.index is not None and packet.index > highest[packet.side]:
            highest[packet.side] = packet.index
            if before is not None and before.side is not packet.side and len(times[packet.side]) < _ANSWERS_MOST:
                times[packet.side].append(packet.time_ns - before.time_ns)
        before = packet
    return {side: max(_ANSWER_NS, 4 * median(seen)) if seen else _ANSWER_NS for side, seen in times.items()}


def _timer_ns(transfer: Transfer) -> float:
    """The shortest time after which the sender's timer ran out, as far as the transfer shows, less a tenth."""
    shortest: float | None = min(_timer_gaps(transfer), default=None)
    if shortest is None and transfer.terms.timeout_s:
        shortest = transfer.terms.timeout_s * 1e9
    return shortest * 0.9 if shortest is not None else _TIMER_NS


def _timer_gaps(transfer: Transfer) -> Iterator[int]:
    """Nanoseconds between two sendings of one block where nothing asked for the second."""
    sent_ns: dict[int, int] = {}
    heard = _Unanswered()
    for packet in transfer.own_packets:
        if packet.side is not transfer.sender and not packet.lost:
            heard.add(packet)
        if not transfer.carries_data(packet) or packet.index is None:
            continue
        answered = heard.take_acknowledgement(packet.index - 1)
        since_ns = packet.time_ns - sent_ns.get(packet.index, packet.time_ns)
        if answered is None and since_ns >= _TIMER_SHORTEST_NS:
            yield since_ns
        sent_ns[packet.index] = packet.time_ns
