"""Runs on virtual time: UDP's machines on the simulated network.

Decided here: what is observed of them without their knowing: what their nodes send, and how much the client has.
`--max-time` does not hold here, for nobody waits. CPU seconds would say nothing and are left out. Not known here: TCP.
"""

from __future__ import annotations

import hashlib

from blockstep.protocol.options import Wanted
from blockstep.protocol.wire import Opcode
from blockstep_lab.compare.grid import Order
from blockstep_lab.compare.observing import Curve
from blockstep_lab.compare.outcome import Observed
from blockstep_lab.compare.results import FAILED, OK, Run, TimeSequence
from blockstep_lab.compare.theory import UDP_HEADER_BYTES
from blockstep_lab.compare.transfer import POINTS
from blockstep_lab.conditions import Conditions
from blockstep_lab.drivers import ReceiveDriver
from blockstep_lab.parties import LISTENER, Client, Listener, Plan
from blockstep_lab.simnet import Send, SimAddress, SimNet, SimulationEndless
from blockstep_lab.simulation import GENEROUS

__all__ = ["simulate"]

_MOST_EVENTS_FOR_A_BLOCK = 200
_LONGEST_S = 1e7
_DATA = b"\0\3"


def simulate(order: Order, content: bytes) -> Observed:
    """One run from beginning to end, the same for the same order and content."""
    return _Simulation(order, content).run()


class _Simulation:
    def __init__(self, order: Order, content: bytes) -> None:
        contender = order.contender
        wanted = Wanted(blksize=contender.blksize, windowsize=contender.windowsize, tsize=0)
        plan = Plan(opcode=Opcode.RRQ, content=content, wanted=wanted, limits=GENEROUS, single_port=True)
        blocks = len(content) // contender.blksize + 1
        most = max(200_000, blocks * _MOST_EVENTS_FOR_A_BLOCK)
        self._order, self._content = order, content
        self._net = SimNet(order.seed, max_events=most, max_virtual_s=_LONGEST_S, trace_limit=0)
        up, down = Conditions.parse(order.link.up), Conditions.parse(order.link.down)
        self._link = self._net.link("client", "server", up=up, down=down)
        self._wire_bytes = self._wire_packets = 0
        self._arrivals, self._resends = Curve(), Curve()
        self._resent = self._highest = self._seen_bytes = 0
        self._first_at = self._last_at = self._longest_stall_s = 0.0
        self._listener = self._net.attach(LISTENER, lambda send: Listener(self._watching(send), self._net, plan))
        self._client = self._net.attach(("client", 0), lambda send: Client(self._watching(send), plan))

    def run(self) -> Observed:
        """The run, told as every other."""
        failure = None
        try:
            self._net.run(until=self._look)
        except SimulationEndless:
            failure = f"no end after {self._net.now:.0f} s"
        client = self._client
        driver = client.driver
        received = bytes(driver.received) if isinstance(driver, ReceiveDriver) else b""
        if failure is None and client.delivered_at is None:
            failure = str(client.error or "the file never became whole")
        if failure is None and received != self._content:
            failure = "the file arrived with other bytes"
        return Observed(self._told(received, failure), self._sequence() if failure is None else None)

    def _watching(self, send: Send) -> Send:
        def watched(data: bytes, destination: SimAddress) -> None:
            self._wire_bytes += len(data) + UDP_HEADER_BYTES
            self._wire_packets += 1
            if data[:2] == _DATA:
                self._note_block(data[2] << 8 | data[3])
            send(data, destination)

        return watched

    def _note_block(self, wire: int) -> None:
        index = self._highest + ((wire - self._highest + 0x8000) & 0xFFFF) - 0x8000
        if index <= self._highest:
            self._resent += 1
            self._resends.add(self._net.now, (index - 1) * self._order.contender.blksize)
        self._highest = max(self._highest, index)

    def _look(self) -> bool:
        """After each event: has something arrived?"""
        driver = self._client.driver
        if isinstance(driver, ReceiveDriver) and len(driver.received) > self._seen_bytes:
            now = self._net.now
            if self._seen_bytes:
                self._longest_stall_s = max(self._longest_stall_s, now - self._last_at)
            else:
                self._first_at = now
            self._last_at, self._seen_bytes = now, len(driver.received)
            self._arrivals.add(now, self._seen_bytes)
        return False

    def _told(self, received: bytes, failure: str | None) -> Run:
        total_s = self._client.delivered_at if failure is None else None
        contender_id, link_id, repeat = self._order.key
        counters = self._link.down.counters
        offered = counters.packets - counters.tail_dropped
        parties = [self._client, *self._listener.parties]
        return Run(
            contender=contender_id,
            link=link_id,
            repeat=repeat,
            seed=self._order.seed,
            state=OK if failure is None else FAILED,
            reason=failure,
            goodput_bit_s=len(received) * 8 / total_s if total_s else None,
            total_s=total_s,
            first_byte_s=self._first_at if total_s else None,
            longest_stall_s=self._longest_stall_s if total_s else None,
            file_bytes=len(received),
            wire_bytes=self._wire_bytes,
            wire_packets=self._wire_packets,
            resends=self._resent,
            timeouts=sum(each.driver.machine.stats.timeouts for each in parties if each.driver is not None),
            cpu_sender_s=None,
            cpu_receiver_s=None,
            sha256=hashlib.sha256(received).hexdigest() if failure is None else None,
            measured_loss=counters.lost / offered if offered else None,
            late_p99_s=None,
            ring_drops=None,
            attempts=1,
        )

    def _sequence(self) -> TimeSequence:
        return TimeSequence(
            contender=self._order.contender.id,
            link=self._order.link.id,
            repeat=self._order.repeat,
            state=OK,
            points=self._arrivals.thinned(POINTS, 0.0),
            resends=self._resends.thinned(POINTS, 0.0),
            resends_total=self._resent,
        )
