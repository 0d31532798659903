"""A network on virtual time: nodes without sockets, joined by the same bad link as everything else in the lab.

Decided here: when each thing happens. The clock jumps from event to event, so an hour of timeouts costs milliseconds,
and with one seed every run is the same run. Not known here: protocols. A node is anything with three methods; it sends
through the callable that it was given.

    net = SimNet(seed=7)
    net.link("client", "server", up="loss 5%", down="delay 20ms")
    server = net.attach(("server", 69), lambda send: Server(send))
    client = net.attach(("client", 0), lambda send: Client(send, ("server", 69)))
    net.run(until=lambda: client.done)

Hosts that no link joins reach each other at once and without loss. A datagram to an address that nobody has is gone.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterable
from typing import NamedTuple, NoReturn, Protocol, TypeVar

from blockstep.protocol.errors import LocalError
from blockstep_lab.conditions import Conditions
from blockstep_lab.describing import describe_untrusted
from blockstep_lab.hop import Hop
from blockstep_lab.rules import FlowRules, Rule, RuleBook

__all__ = ["Node", "Send", "SimAddress", "SimLink", "SimNet", "SimulationEndless", "TraceEntry"]

SimAddress = tuple[str, int]
Send = Callable[[bytes, SimAddress], None]

_FIRST_EPHEMERAL_PORT = 49_152
_KEPT_BYTES = 64
# IPv4 and UDP headers, as the relay counts them.
_HEADER_BYTES = 28


class Node(Protocol):
    """What the network drives. `now` is virtual seconds from the start of the simulation."""

    def handle_datagram(self, data: bytes, source: SimAddress, now: float) -> None:
        """A datagram has arrived."""

    def handle_deadline(self, now: float) -> None:
        """The time that `next_deadline` named has come."""

    def next_deadline(self) -> float | None:
        """When to call `handle_deadline`, or None. Asked after every call into the node and when `run` starts."""


_NodeT = TypeVar("_NodeT", bound=Node)


class SimulationEndless(LocalError):
    """The simulation reached its limit of events or of virtual time; the text has the seed and the last events."""


class TraceEntry(NamedTuple):
    """One thing that happened. `what` is `sent`, `lost`, `arrived`, `nobody` or `deadline`; `head` the first octets.

    `length` is the whole datagram's; for `sent`, `times` tells when each copy will arrive.
    """

    now: float
    what: str
    source: SimAddress | None
    destination: SimAddress
    head: bytes = b""
    length: int = 0
    times: tuple[float, ...] = ()


class SimLink:
    """Both directions of a link between two groups of hosts, with its rules; `up` goes from left to right."""

    def __init__(self, seed: str, up: Conditions, down: Conditions, rules: Iterable[Rule | str]) -> None:
        self.up = Hop(up, seed, "up", header_bytes=_HEADER_BYTES)
        self.down = Hop(down, seed, "down", header_bytes=_HEADER_BYTES)
        self.book = RuleBook(list(rules))
        self._flows: dict[SimAddress, FlowRules] = {}

    def flow_of(self, left: SimAddress) -> FlowRules | None:
        """The rules as they apply to one address on the left, as in the relay; None without rules."""
        if not self.book.rules:
            return None
        if left not in self._flows:
            self._flows[left] = self.book.start_flow()
        return self._flows[left]


class _Seat:
    """A node at its address, the deadline that it named last, and the earliest time that the heap holds for it."""

    __slots__ = ("address", "deadline", "node", "scheduled")

    def __init__(self, address: SimAddress) -> None:
        self.address = address
        self.node: Node | None = None
        self.deadline: float | None = None
        self.scheduled: float | None = None


_Datagram = tuple[bytes, SimAddress, SimAddress]
# When, in which order, and what: a deadline of a node or the arrival of a datagram.
_Event = tuple[float, int, _Seat | _Datagram]


class SimNet:
    """The network and its clock, `now`, which starts at 0.

    A run ends with `SimulationEndless` after `max_events` events or when the clock would pass `max_virtual_s`. The last
    `trace_limit` entries are kept in `trace` (0: none, which is faster); `describe(head, length)` puts a datagram, of
    which it sees the first octets, into words.
    """

    def __init__(
        self,
        seed: int | str,
        *,
        max_events: int = 5_000_000,
        max_virtual_s: float = 1e6,
        trace_limit: int = 10_000,
        describe: Callable[[bytes, int], str] = describe_untrusted,
    ) -> None:
        self.seed = str(seed)
        self.now = 0.0
        self.events = 0
        self.trace: deque[TraceEntry] = deque(maxlen=trace_limit)
        self._is_traced = trace_limit > 0
        self._max_events = max_events
        self._max_virtual_s = max_virtual_s
        self._describe = describe
        self._seats: dict[SimAddress, _Seat] = {}
        self._ways: dict[tuple[str, str], tuple[SimLink, Hop]] = {}
        self._links = 0
        self._heap: list[_Event] = []
        self._order = 0

    def link(
        self,
        left: str | Iterable[str],
        right: str | Iterable[str],
        *,
        up: Conditions | str = "",
        down: Conditions | str = "",
        rules: Iterable[Rule | str] = (),
    ) -> SimLink:
        """Joins every host on the left with every host on the right by one shared link.

        The first link has the fates of the seed itself, as the relay would; each further one has fates of its own.
        """
        seed = self.seed if not self._links else f"{self.seed}/link-{self._links}"
        self._links += 1
        joined = SimLink(seed, Conditions.of(up), Conditions.of(down), rules)
        for one in [left] if isinstance(left, str) else left:
            for other in [right] if isinstance(right, str) else right:
                self._ways[one, other] = (joined, joined.up)
                self._ways[other, one] = (joined, joined.down)
        return joined

    def attach(self, address: SimAddress, make: Callable[[Send], _NodeT]) -> _NodeT:
        """A new node at `address` (port 0: the next free one); `make` gets the callable to send with."""
        host, port = address
        while port == 0 or (host, port) in self._seats:
            if port:
                raise LocalError(f"{_format(address)} is taken")
            port = next(free for free in range(_FIRST_EPHEMERAL_PORT, 65_536) if (host, free) not in self._seats)
        seat = self._seats[host, port] = _Seat((host, port))
        node = make(lambda data, destination: self._send(data, seat.address, destination))
        seat.node = node
        self._schedule(seat)
        return node

    def detach(self, node: Node) -> None:
        """Takes a node off the network: what is on its way to it will find nobody."""
        seat = self._seat_of(node)
        seat.scheduled = None
        del self._seats[seat.address]

    def address_of(self, node: Node) -> SimAddress:
        """Where a node is attached."""
        return self._seat_of(node).address

    def run(self, until: Callable[[], bool] | None = None) -> bool:
        """Lets things happen until `until()` is true (the answer is True) or nothing is left to happen (False)."""
        for seat in list(self._seats.values()):
            self._schedule(seat)
        while until is None or not until():
            if not self._heap:
                return False
            self._step()
        return True

    def format_trace(self, last: int | None = None) -> str:
        """The trace as text, one line for each entry, oldest first."""
        entries = list(self.trace)
        return "\n".join(self._format_entry(entry) for entry in (entries if last is None else entries[-last:]))

    def _step(self) -> None:
        at, _, event = heapq.heappop(self._heap)
        if isinstance(event, _Seat):
            self._wake(event, at)
        else:
            self._advance(at)
            self._deliver(*event)

    def _wake(self, seat: _Seat, at: float) -> None:
        """The node's deadline, unless it has moved away since: nodes put it off with every packet, and the heap is
        told only when its time comes.
        """
        if seat.scheduled != at or seat.node is None:
            return
        seat.scheduled = None
        if seat.deadline is None or seat.deadline > at:
            self._arm(seat)
            return
        self._advance(at)
        if self._is_traced:
            self.trace.append(TraceEntry(at, "deadline", None, seat.address))
        seat.node.handle_deadline(at)
        self._schedule(seat)

    def _advance(self, at: float) -> None:
        if self.events >= self._max_events or at > self._max_virtual_s:
            self._refuse_to_go_on()
        self.now = at
        self.events += 1

    def _refuse_to_go_on(self) -> NoReturn:
        limit = (
            f"{self.events} events" if self.events >= self._max_events else f"{self._max_virtual_s:g} virtual seconds"
        )
        tail = self.format_trace(10)
        raise SimulationEndless(
            f"seed {self.seed}: no end after {limit} (at {self.now:.6f} s); the last events:\n{tail}"
        )

    def _send(self, data: bytes, source: SimAddress, destination: SimAddress) -> None:
        way = self._ways.get((source[0], destination[0]))
        if way is None:
            deliveries = [(self.now, data)]
        else:
            joined, hop = way
            left = source if hop is joined.up else destination
            deliveries = hop.admit(data, self.now, joined.flow_of(left))
        for at, copy in deliveries:
            self._push(at, (copy, source, destination))
        if self._is_traced:
            times = tuple(at for at, _ in deliveries)
            self._note("sent" if times else "lost", data, source, destination, times=times)

    def _deliver(self, data: bytes, source: SimAddress, destination: SimAddress) -> None:
        seat = self._seats.get(destination)
        if self._is_traced:
            self._note("nobody" if seat is None else "arrived", data, source, destination)
        if seat is not None and seat.node is not None:
            seat.node.handle_datagram(data, source, self.now)
            self._schedule(seat)

    def _schedule(self, seat: _Seat) -> None:
        if seat.node is None or self._seats.get(seat.address) is not seat:
            return
        seat.deadline = seat.node.next_deadline()
        self._arm(seat)

    def _arm(self, seat: _Seat) -> None:
        deadline = seat.deadline
        if deadline is None:
            return
        if deadline < self.now:
            deadline = self.now
        if seat.scheduled is None or deadline < seat.scheduled:
            seat.scheduled = deadline
            self._push(deadline, seat)

    def _push(self, at: float, event: _Seat | _Datagram) -> None:
        self._order += 1
        heapq.heappush(self._heap, (at, self._order, event))

    def _note(
        self, what: str, data: bytes, source: SimAddress, destination: SimAddress, *, times: tuple[float, ...] = ()
    ) -> None:
        self.trace.append(TraceEntry(self.now, what, source, destination, data[:_KEPT_BYTES], len(data), times))

    def _seat_of(self, node: Node) -> _Seat:
        for seat in self._seats.values():
            if seat.node is node:
                return seat
        raise LocalError("the node is not attached")

    def _format_entry(self, entry: TraceEntry) -> str:
        if entry.source is None:
            return f"{entry.now:12.6f} {_format(entry.destination)} deadline"
        way = f"{_format(entry.source)} > {_format(entry.destination)}"
        times = f" at {', '.join(f'{at:.6f}' for at in entry.times)}" if entry.times else ""
        return f"{entry.now:12.6f} {way} {entry.what}{times}: {self._describe(entry.head, entry.length)}"


def _format(address: SimAddress) -> str:
    return f"{address[0]}:{address[1]}"
