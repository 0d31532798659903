"""The router at work: packets in, a decision each, packets out at their time.

Decided here: what happens when. Every packet between the two sides goes through the one model in the moment it is
taken in; packets between hosts of one side pass at once. Devices are drained until they are empty, because a packet
that waited in a queue of the kernel would be late by a delay that nobody asked for. Not known here: processes and
namespaces.

`select` and not `epoll` does the waiting: it counts in microseconds, and there are few descriptors.
"""

from __future__ import annotations

import gc
import heapq
import select
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address
from time import monotonic, sleep, time_ns

from blockstep.transport.pcapng_writer import PcapngWriter
from blockstep_lab.conditions import Conditions
from blockstep_lab.impairment import Delivery
from blockstep_lab.netns.breather import Breather
from blockstep_lab.netns.checks import DirectionChecks, RouterReport
from blockstep_lab.netns.lateness import Lateness
from blockstep_lab.netns.oversleep import Oversleep
from blockstep_lab.netns.packets import is_ipv4, udp_payload_start
from blockstep_lab.netns.ports import Port
from blockstep_lab.netns.way import Flows, Way
from blockstep_lab.rules import Rule, RuleBook

__all__ = ["LinkSetup", "Router"]

# Packets taken from one host before the others get their turn and the heap is looked at.
_BATCH = 64
# In seconds. The longest that the router stays awake for one packet is a third of it (`Oversleep`).
_LONG_SLEEP_S = 0.001
_MOST_HELD_PACKETS = 200_000
_MOST_HELD_BYTES = 256 << 20

# deliver_at, order of arrival, to whom, what, whose lateness it is
_Held = tuple[float, int, Port, bytes, Lateness]


@dataclass(frozen=True, slots=True)
class LinkSetup:
    """The link between the sides; `up` is from left to right. `mend`: damage reaches the application."""

    up: Conditions
    down: Conditions
    seed: str
    rules: Sequence[Rule] = ()
    mend: bool = False


class Router:
    """Carries packets between hosts. `left` and `right` map their addresses to their ports; `run` ends with `stop`."""

    def __init__(
        self,
        left: Mapping[str, Port],
        right: Mapping[str, Port],
        setup: LinkSetup,
        *,
        capture: PcapngWriter | None = None,
    ) -> None:
        self._left, self._right = _packed(left), _packed(right)
        self._capture = capture
        self._handlers: dict[int, Callable[[], None]] = {}
        self._held: list[_Held] = []
        self._held_bytes = 0
        self._arrivals = 0
        self._strangers = self._no_room = self._send_errors = 0
        self._stopped = False
        self._oversleep = Oversleep()
        self._breather = Breather(monotonic())
        self._watched: list[int] = []
        self.change(setup)
        for port in [*left.values(), *right.values()]:
            self.watch(port, self._drainer(port, from_left=port in left.values()))

    def change(self, setup: LinkSetup) -> None:
        """Another link from the next packet on, with fates from the start of its seed and counters at zero.

        What is under way still arrives, and counts for nobody.
        """
        flows = Flows(RuleBook(setup.rules))
        self._up = Way(setup.up, setup.seed, "up", flows=flows, mend=setup.mend)
        self._down = Way(setup.down, setup.seed, "down", flows=flows, mend=setup.mend)
        self._lateness = {"up": Lateness(), "down": Lateness()}
        self._strangers = self._no_room = self._send_errors = 0

    def watch(self, source: Port | int, handler: Callable[[], None]) -> None:
        """Calls `handler` whenever `source` can be read."""
        self._handlers[source if isinstance(source, int) else source.fileno()] = handler
        self._watched = list(self._handlers)

    def stop(self) -> None:
        """Makes `run` return; what is under way is not delivered."""
        self._stopped = True

    def run(self) -> None:
        """Routes until `stop`. The collector of cycles is off: there are none, and its pauses would be felt."""
        gc.freeze()
        gc.disable()
        while not self._stopped:
            self.turn()
        if self._capture is not None:
            self._capture.close()

    def turn(self, longest_s: float = 0.5) -> None:
        """Waits until there is something to do, at most this long, and does it."""
        now = monotonic()
        rest_s = self._breather.maybe_rest_s(now)
        if rest_s:
            sleep(rest_s)
            now = monotonic()
        due_in_s = min(max(self._held[0][0] - now, 0.0), longest_s) if self._held else longest_s
        ready = self._wait(now, due_in_s) if due_in_s else self._readable(0.0)
        for descriptor in ready:
            self._handlers[descriptor]()
            self._flush()
        self._flush()
        if not ready and self._capture is not None:
            self._capture.flush()

    def _wait(self, begun: float, due_in_s: float) -> list[int]:
        """Sleeps until a packet is due or there is something to read; what can be read."""
        # After a short sleep no processor is slow to come back; staying awake instead would take it from the hosts.
        is_long = due_in_s > _LONG_SLEEP_S
        early_s = self._oversleep.early_s if is_long and self._held else 0.0
        ready = self._readable(due_in_s - early_s)
        slept_s = monotonic() - begun
        self._breather.add(slept_s)
        if is_long and not ready:
            self._oversleep.add(slept_s, due_in_s - early_s)
        while early_s and not ready and monotonic() - begun < due_in_s:
            ready = self._readable(0.0)
        return ready

    def _readable(self, timeout_s: float) -> list[int]:
        return select.select(self._watched, [], [], timeout_s)[0]

    def report(self) -> RouterReport:
        """What was counted since the last change."""
        ports = {*self._left.values(), *self._right.values()}
        return RouterReport(
            up=self._direction(self._up),
            down=self._direction(self._down),
            rules=self._up.flows.book.report(),
            ring_drops=sum(port.drops() for port in ports),
            under_way=len(self._held),
            no_room=self._no_room,
            send_errors=self._send_errors,
            strangers=self._strangers,
        )

    def _direction(self, way: Way) -> DirectionChecks:
        late = self._lateness[way.direction]
        p50_s, p99_s = late.quantile(0.5), late.quantile(0.99)
        return DirectionChecks(str(way.conditions), way.counters, p50_s, p99_s, late.most_s)

    def _drainer(self, port: Port, *, from_left: bool) -> Callable[[], None]:
        near, far = (self._left, self._right) if from_left else (self._right, self._left)

        def drain() -> None:
            way = self._up if from_left else self._down
            lateness = self._lateness[way.direction]
            for _ in range(_BATCH):
                packet = port.maybe_read()
                if packet is None:
                    return
                out = far.get(packet[16:20])
                if out is not None and is_ipv4(packet):
                    self._carry(packet, way, out, lateness)
                else:
                    self._pass(packet, near.get(packet[16:20]))

        return drain

    def _carry(self, packet: bytes, way: Way, out: Port, lateness: Lateness) -> None:  # hot path
        now = monotonic()
        deliveries = way.admit(packet, now)
        if self._capture is not None:
            self._record(packet, deliveries)
        for deliver_at, copy in deliveries:
            if deliver_at <= now:
                self._send(out, copy)
                lateness.add(monotonic() - now)
            elif len(self._held) >= _MOST_HELD_PACKETS or self._held_bytes >= _MOST_HELD_BYTES:
                self._no_room += 1
            else:
                self._arrivals += 1
                self._held_bytes += len(copy)
                heapq.heappush(self._held, (deliver_at, self._arrivals, out, copy, lateness))

    def _pass(self, packet: bytes, out: Port | None) -> None:
        """Between hosts of one side nothing is impaired; what is for nobody is counted."""
        if out is None or not is_ipv4(packet):
            self._strangers += 1
        else:
            self._send(out, packet)

    def _flush(self) -> None:
        held = self._held
        now = monotonic()
        while held and held[0][0] <= now:
            deliver_at, _, out, packet, lateness = heapq.heappop(held)
            self._held_bytes -= len(packet)
            self._send(out, packet)
            now = monotonic()
            lateness.add(now - deliver_at)

    def _send(self, out: Port, packet: bytes) -> None:
        try:
            out.write(packet)
        except OSError:
            self._send_errors += 1

    def _record(self, packet: bytes, deliveries: list[Delivery]) -> None:
        start = udp_payload_start(packet)
        if not start or self._capture is None:
            return
        ports = packet[start - 8 : start - 4]
        source = str(IPv4Address(packet[12:16])), int.from_bytes(ports[:2], "big")
        destination = str(IPv4Address(packet[16:20])), int.from_bytes(ports[2:], "big")
        fate = "" if deliveries else "lost: by the link"
        self._capture.write(time_ns(), source, destination, packet[start:], comment=fate)


def _packed(ports: Mapping[str, Port]) -> dict[bytes, Port]:
    return {IPv4Address(address).packed: port for address, port in ports.items()}
