"""One direction of a bad link, as a pure function of packets, their times and a seed.

Decided here: the order in which a packet meets its troubles, and what is counted. It enters the bottleneck's queue (or
is dropped at its tail), leaves it, is delayed, and on the way may be lost, duplicated, corrupted or sent past the
others. Not known here: sockets, clocks and protocols, so the same code runs in a simulation, in the relay and between
network namespaces.

**One seed, one fate.** Each kind of decision has its own stream `Random(f"{seed}/{direction}/{kind}")` and draws one
number for every packet that is offered, also for packets that another kind has already lost (which bit a corruption
hits is a kind of its own, drawn once per corruption). So packet n is lost (or not) whatever the timing was and whatever
else is switched on; only the queue depends on time, and it draws nothing.

As in netem, a packet that is both duplicated and lost arrives once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from blockstep_lab.chances import chance_decider, loss_decider, never
from blockstep_lab.conditions import Conditions, Rate, Reorder
from blockstep_lab.jitter import delayer, no_delay

__all__ = ["Bottleneck", "Counters", "Delivery", "Impairment", "flip_bit"]

Delivery = tuple[float, bytes]


@dataclass(slots=True)
class Counters:
    """What happened to the packets of one direction; `delivered` counts copies, scheduled ones included.

    `delivered` = `packets` - `tail_dropped` - `lost` + `duplicated`, always: what the full queue dropped meets no other
    fate. `reordered` counts packets that overtook one that was sent earlier, for whatever reason.
    """

    packets: int = 0
    delivered: int = 0
    lost: int = 0
    tail_dropped: int = 0
    duplicated: int = 0
    reordered: int = 0
    corrupted: int = 0


class Bottleneck:
    """A queue in front of a link of limited rate; a packet that finds it full is dropped (tail drop)."""

    def __init__(self, rate: Rate, limit: int) -> None:
        self._rate = rate
        self._limit = limit
        self._leave_times: deque[float] = deque()

    def maybe_leave_at(self, size_bytes: int, now: float) -> float | None:
        """When the last bit of a packet of this size is through, or None if there is no room for it."""
        queue = self._leave_times
        while queue and queue[0] <= now:
            queue.popleft()
        if len(queue) >= self._limit:
            return None
        start = queue[-1] if queue else now
        leave_at = start + self._rate.wire_bytes(size_bytes) * 8 / self._rate.bits_per_s
        queue.append(leave_at)
        return leave_at


class Impairment:
    """Carries the packets of one direction.

    `header_bytes` is what the link sees of a packet and the carrier does not (28 for a UDP payload over IPv4): it
    counts into the rate. `payload_start(packet)` tells a carrier of whole IP packets where corruption may begin, so
    that the same bit of the same payload is hit in every carrier.
    """

    def __init__(
        self,
        conditions: Conditions,
        seed: int | str,
        direction: str,
        *,
        header_bytes: int = 0,
        payload_start: Callable[[bytes], int] | None = None,
    ) -> None:
        self.counters = Counters()
        self._name = f"{seed}/{direction}"
        self._header_bytes = header_bytes
        self._payload_start = payload_start
        self._streams: dict[str, Random] = {}
        self._latest = float("-inf")
        self.change(conditions)

    def change(self, conditions: Conditions) -> None:
        """New conditions from the next packet on. Streams go on where they are; the queue starts empty."""
        self.conditions = conditions
        self._is_lost = loss_decider(conditions.loss, self._stream) if conditions.loss else never
        self._is_duplicated = self._decider("duplicate") if conditions.duplicate else never
        self._is_corrupted = self._decider("corrupt") if conditions.corrupt else never
        self._is_early = _reorder_decider(conditions.reorder, self._stream("reorder")) if conditions.reorder else never
        self._delay = delayer(conditions.delay, self._stream("delay")) if conditions.delay else no_delay
        self._bottleneck = Bottleneck(conditions.rate, conditions.queue_limit) if conditions.rate else None

    def admit(self, packet: bytes, now: float) -> list[Delivery]:
        """The copies that arrive, each with its time (>= `now`, the same clock, seconds): none, one or two.

        `now` must not go backwards.
        """
        counters = self.counters
        counters.packets += 1
        lost, duplicated, early = self._is_lost(), self._is_duplicated(), self._is_early()
        delay_s = self._delay()
        damaged = self._damage(packet) if self._is_corrupted() else None
        deliver_at = now
        if self._bottleneck is not None:
            leave_at = self._bottleneck.maybe_leave_at(len(packet) + self._header_bytes, now)
            if leave_at is None:
                counters.tail_dropped += 1
                return []
            deliver_at = leave_at
        if not early:
            deliver_at += delay_s
        counters.lost += lost
        counters.duplicated += duplicated
        if lost and not duplicated:
            return []
        return self._deliver(packet, damaged, deliver_at, 1 + (duplicated and not lost))

    def _deliver(self, packet: bytes, damaged: bytes | None, deliver_at: float, copies: int) -> list[Delivery]:
        counters = self.counters
        counters.delivered += copies
        if deliver_at < self._latest:
            counters.reordered += 1
        else:
            self._latest = deliver_at
        if damaged is not None:
            counters.corrupted += 1
            first = (deliver_at, damaged)
        else:
            first = (deliver_at, packet)
        return [first] if copies == 1 else [first, (deliver_at, packet)]

    def _decider(self, kind: str) -> Callable[[], bool]:
        return chance_decider(getattr(self.conditions, kind), self._stream(kind))

    def _damage(self, packet: bytes) -> bytes:
        start = self._payload_start(packet) if self._payload_start is not None else 0
        number = self._stream("corrupt-bit").random()
        return flip_bit(packet, start * 8 + int(number * max(len(packet) - start, 0) * 8))

    def _stream(self, kind: str) -> Random:
        if kind not in self._streams:
            self._streams[kind] = Random(f"{self._name}/{kind}")
        return self._streams[kind]


def flip_bit(packet: bytes, bit: int) -> bytes:
    """The packet with one bit changed, counted from the first bit; a bit behind the end changes nothing."""
    if bit >= len(packet) * 8:
        return packet
    changed = bytearray(packet)
    changed[bit >> 3] ^= 0x80 >> (bit & 7)
    return bytes(changed)


def _reorder_decider(reorder: Reorder, stream: Random) -> Callable[[], bool]:
    """As netem: at least `gap` - 1 packets take the ordinary way between two that skip the delay."""
    is_chosen = chance_decider(reorder, stream)
    if reorder.gap == 1:
        return is_chosen
    ordinary = 0

    def decide() -> bool:
        nonlocal ordinary
        chosen = is_chosen() and ordinary >= reorder.gap - 1
        ordinary = 0 if chosen else ordinary + 1
        return chosen

    return decide
