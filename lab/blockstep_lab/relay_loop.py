"""The relay at work: datagrams in, a decision each, datagrams out at their time.

Decided here: what happens when. A datagram whose time has come goes out in the same turn, without a queue; the others
wait in a heap. Sockets are drained until they are empty, because the decision is made when a datagram is *taken in*:
one that waited in a socket's buffer would be late. Not known here: processes and signals.

Waiting: `epoll` takes any number of sockets but counts in milliseconds, `select` is exact but counts at most 1,024
descriptors, so `select` waits on the one descriptor of the `epoll`.
"""

from __future__ import annotations

import contextlib
import heapq
import math
import select
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import monotonic
from typing import NamedTuple

from blockstep_lab.conditions import Conditions
from blockstep_lab.endpoints import Address
from blockstep_lab.histogram import Histogram
from blockstep_lab.hop import Hop
from blockstep_lab.relay_capture import Fate, RelayCapture
from blockstep_lab.relay_ports import Port, Side, kernel_drops
from blockstep_lab.relay_report import DirectionReport, RelayReport, Troubles
from blockstep_lab.rules import Rule, RuleBook

__all__ = ["RelayLoop", "RelaySetup"]

_LARGEST_DATAGRAM = 65_535
# Datagrams taken from one socket before the others get their turn and the heap is looked at.
_BATCH = 64
_SWEEP_EVERY_S = 1.0
_MOST_HELD_PACKETS = 100_000
_MOST_HELD_BYTES = 256 << 20
# IP and UDP headers, which the link carries and the relay does not see.
_HEADER_BYTES = {socket.AF_INET: 28, socket.AF_INET6: 48}


class _Passage(NamedTuple):
    """The way of one packet: through which hop, out of which port, to whom; the client's two ports of the relay."""

    hop: Hop
    out: Port
    target: Address
    front: Port
    back: Port


# deliver_at, order of arrival, taken in at, by which socket, to whom, what, in which direction
_Held = tuple[float, int, float, Port, Address, bytes, str]


@dataclass(frozen=True, slots=True)
class RelaySetup:
    """What a relay is told before it starts. `most_ports` bounds each side; both addresses are resolved."""

    upstream: Address
    upstream_family: socket.AddressFamily
    conditions_up: Conditions
    conditions_down: Conditions
    rules: Sequence[Rule]
    seed: str
    idle_s: float = 120.0
    most_ports: int = 2048


class RelayLoop:
    """One relay; `run` returns after `stop`. Owns the listener and every socket it opens. `capture` notes packets."""

    def __init__(self, listener: socket.socket, setup: RelaySetup, capture: RelayCapture | None = None) -> None:
        self._setup = setup
        self._capture = capture
        self._epoll = select.epoll()
        self._handlers: dict[int, Callable[[], None]] = {}
        self._held: list[_Held] = []
        self._held_bytes = 0
        self._arrivals = 0
        self._stopped = False
        self._troubles = Troubles()
        self._delays = {"up": Histogram(), "down": Histogram()}
        self._book = RuleBook(setup.rules)
        header_bytes = _HEADER_BYTES[listener.family]
        self._up = Hop(setup.conditions_up, setup.seed, "up", header_bytes=header_bytes)
        self._down = Hop(setup.conditions_down, setup.seed, "down", header_bytes=header_bytes)
        self._open_sides(listener)

    def _open_sides(self, listener: socket.socket) -> None:
        setup = self._setup
        front_host, back_host = listener.getsockname(), ("::" if ":" in setup.upstream[0] else "0.0.0.0")
        self._front = Side(listener.family, _any_port(front_host), setup.most_ports)
        self._back = Side(setup.upstream_family, (back_host, 0), setup.most_ports)
        port = Port(listener, setup.upstream, None)
        port.last_used = math.inf
        self._front.add(port)
        self.watch(listener, partial(self._drain, port, self._handle_from_client))

    def watch(self, sock: socket.socket, handler: Callable[[], None]) -> None:
        """Calls `handler` whenever `sock` can be read."""
        self._handlers[sock.fileno()] = handler
        self._epoll.register(sock.fileno(), select.EPOLLIN)

    def stop(self) -> None:
        """Makes `run` return; what is still held back is not delivered."""
        self._stopped = True

    def run(self, on_sweep: Callable[[], None] = lambda: None) -> None:
        """Relays until `stop`; `on_sweep` is called about once a second."""
        _sharpen_timers()
        sweep_at = monotonic() + _SWEEP_EVERY_S
        while not self._stopped:
            self._wait(sweep_at)
            for fd, _ in self._epoll.poll(0):
                handler = self._handlers.get(fd)
                if handler is not None:
                    handler()
            now = monotonic()
            self._flush(now)
            if now >= sweep_at:
                sweep_at = now + _SWEEP_EVERY_S
                self._sweep(now)
                on_sweep()
        if self._capture is not None:
            self._capture.flush()

    def close(self) -> None:
        """Closes every socket."""
        for port in [*self._front, *self._back]:
            self._close_port(port)
        self._epoll.close()

    def change(self, up: Conditions | None, down: Conditions | None, rules: Sequence[Rule] | None) -> None:
        """New conditions or rules from the next packet on; None leaves a part as it is."""
        if up is not None:
            self._up.impairment.change(up)
        if down is not None:
            self._down.impairment.change(down)
        if rules is not None:
            self._book = RuleBook(rules)
            for port in self._back:
                assert port.flow is not None
                port.flow.change_book(self._book)

    def report(self) -> RelayReport:
        """What was counted so far."""
        troubles = Troubles(**{name: getattr(self._troubles, name) for name in Troubles.__slots__})
        troubles.unrecorded = 0 if self._capture is None else self._capture.unrecorded
        troubles.kernel_drops += sum(kernel_drops(port.sock) for port in [*self._front, *self._back])
        up, down = (self._direction_report(hop) for hop in (self._up, self._down))
        return RelayReport(self._setup.seed, up, down, self._book.report(), troubles)

    def _direction_report(self, hop: Hop) -> DirectionReport:
        delays = self._delays[hop.direction]
        conditions = str(hop.impairment.conditions)
        return DirectionReport(conditions, hop.counters, delays.quantile(0.5), delays.quantile(0.99))

    def _wait(self, sweep_at: float) -> None:
        until = min(self._held[0][0], sweep_at) if self._held else sweep_at
        timeout_s = until - monotonic()
        if timeout_s > 0:
            select.select([self._epoll], [], [], timeout_s)

    def _drain(self, port: Port, handle: Callable[[Port, bytes, Address, float], None]) -> None:
        receive = port.sock.recvfrom
        try:
            for _ in range(_BATCH):
                packet, source = receive(_LARGEST_DATAGRAM)
                handle(port, packet, source, monotonic())
        except BlockingIOError:
            pass
        except OSError:
            # A message about an earlier datagram, or a network that is down: not the end of the others.
            self._troubles.system_errors += 1

    def _handle_from_client(self, front: Port, packet: bytes, client: Address, now: float) -> None:
        back = self._back.get(client) or self._open_back(client)
        if back is None:
            self._troubles.no_ports += 1
            return
        front.last_used = max(front.last_used, now)
        self._carry(_Passage(self._up, back, front.remote, front, back), packet, now)

    def _handle_from_server(self, back: Port, packet: bytes, server: Address, now: float) -> None:
        if server[0] != self._setup.upstream[0]:
            self._troubles.strangers += 1
            return
        front = self._front.get(server) or self._open_front(server)
        if front is None:
            self._troubles.no_ports += 1
            return
        front.last_used = max(front.last_used, now)
        self._carry(_Passage(self._down, front, back.remote, front, back), packet, now)

    def _open_back(self, client: Address) -> Port | None:
        port = self._back.maybe_open(client, self._book.start_flow)
        if port is not None:
            self.watch(port.sock, partial(self._drain, port, self._handle_from_server))
        return port

    def _open_front(self, server: Address) -> Port | None:
        port = self._front.maybe_open(server, None)
        if port is not None:
            self.watch(port.sock, partial(self._drain, port, self._handle_from_client))
        return port

    def _carry(self, passage: _Passage, packet: bytes, now: float) -> None:
        """Decides about a packet, sends what is due at once, and holds the rest back."""
        hop, out, target, front, back = passage
        back.last_used = now
        deliveries = hop.admit(packet, now, back.flow)
        if self._capture is not None:
            self._capture.note(front.sock, back.remote, packet, Fate(hop, deliveries))
        for deliver_at, copy in deliveries:
            if deliver_at <= now:
                if self._held and self._held[0][0] <= now:
                    self._flush(now)
                self._send(out, target, copy)
                self._delays[hop.direction].add(monotonic() - now)
            elif len(self._held) >= _MOST_HELD_PACKETS or self._held_bytes >= _MOST_HELD_BYTES:
                self._troubles.no_room += 1
            else:
                self._arrivals += 1
                self._held_bytes += len(copy)
                out.last_used = max(out.last_used, deliver_at)
                held = (deliver_at, self._arrivals, now, out, target, copy, hop.direction)
                heapq.heappush(self._held, held)

    def _flush(self, now: float) -> None:
        held = self._held
        while held and held[0][0] <= now:
            _, _, taken_at, out, target, packet, direction = heapq.heappop(held)
            self._held_bytes -= len(packet)
            self._send(out, target, packet)
            now = monotonic()
            self._delays[direction].add(now - taken_at)

    def _send(self, out: Port, target: Address, packet: bytes) -> None:
        try:
            out.sock.sendto(packet, target)
        except OSError:
            self._troubles.system_errors += 1

    def _sweep(self, now: float) -> None:
        for side in (self._front, self._back):
            for port in side.pop_idle(now, self._setup.idle_s):
                self._close_port(port)
        if self._capture is not None:
            self._capture.flush()

    def _close_port(self, port: Port) -> None:
        self._troubles.kernel_drops += kernel_drops(port.sock)
        del self._handlers[port.sock.fileno()]
        self._epoll.unregister(port.sock.fileno())
        port.sock.close()


def _any_port(address: Address) -> Address:
    host, _, *scope = address
    return (host, 0) if not scope else (host, 0, int(scope[0]), int(scope[1]))


def _sharpen_timers() -> None:
    """Asks the kernel not to round this thread's sleeps up to 50 us; where it refuses, delays are that much longer."""
    with contextlib.suppress(OSError):
        Path("/proc/self/timerslack_ns").write_text("1")
