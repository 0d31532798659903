"""One direction of the link between the hosts on the left and those on the right.

Decided here: the model is asked about every IP packet, so UDP and TCP meet the same troubles; rules are asked about
what is inside of a UDP datagram, one flow for each address and port on the left, as in the relay. Not known here:
devices and clocks.

A damaged packet normally keeps its checksum, and the receiving kernel throws it away, as on a real link. `mend` makes
the checksum right again, so that the damage reaches the application as it does through the relay.
"""

from __future__ import annotations

from collections import OrderedDict

from blockstep_lab.conditions import Conditions
from blockstep_lab.impairment import Counters, Delivery, Impairment
from blockstep_lab.netns.packets import damage_start, mended, payload_start, udp_payload_start
from blockstep_lab.rules import FlowRules, RuleBook, apply_rules

__all__ = ["Flows", "Way"]

_MOST_FLOWS = 4096


class Flows:
    """The rules of the link, and where each flow stands in them. The flow that was idle longest is forgotten first."""

    def __init__(self, book: RuleBook) -> None:
        self.book = book
        self._flows: OrderedDict[bytes, FlowRules] = OrderedDict()

    def of(self, left: bytes) -> FlowRules:
        """The flow of this address and port on the left (six octets)."""
        flow = self._flows.get(left)
        if flow is None:
            flow = self._flows[left] = self.book.start_flow()
            if len(self._flows) > _MOST_FLOWS:
                self._flows.popitem(last=False)
        else:
            self._flows.move_to_end(left)
        return flow


class Way:
    """`direction` is `"up"` (left to right) or `"down"`; seed and direction name the same fates as in every carrier."""

    def __init__(self, conditions: Conditions, seed: str, direction: str, *, flows: Flows, mend: bool) -> None:
        self.direction = direction
        self.flows = flows
        self._mend = mend
        self.impairment = Impairment(conditions, seed, direction, payload_start=payload_start if mend else damage_start)

    @property
    def conditions(self) -> Conditions:
        """What the link does to packets."""
        return self.impairment.conditions

    @property
    def counters(self) -> Counters:
        """What happened so far, link and rules together."""
        return self.impairment.counters

    def admit(self, packet: bytes, now: float) -> list[Delivery]:
        """The copies of an IPv4 packet that arrive, each with its time."""
        deliveries = self.impairment.admit(packet, now)
        if self.flows.book.rules:
            start = udp_payload_start(packet)
            if start:
                deliveries = self._apply_rules(packet, start, deliveries)
        if self._mend:
            deliveries = [(at, copy if copy is packet else mended(copy)) for at, copy in deliveries]
        return deliveries

    def _apply_rules(self, packet: bytes, start: int, deliveries: list[Delivery]) -> list[Delivery]:
        header = start - 8
        left = packet[12:16] + packet[header : header + 2]
        if self.direction == "down":
            left = packet[16:20] + packet[header + 2 : header + 4]
        acting = self.flows.of(left).actions_for(self.direction, packet[start:])
        if not acting:
            return deliveries
        # Rules know payloads: a corruption must hit one, not a header.
        payloads = [(at, copy[start:]) for at, copy in deliveries]
        return [
            (at, packet if payload == packet[start:] else packet[:start] + payload)
            for at, payload in apply_rules(acting, payloads, self.counters)
        ]
