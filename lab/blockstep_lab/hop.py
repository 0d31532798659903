"""One direction of a link with its rules: what every carrier asks about every packet.

Decided here: that rules act on what the random link lets through. Not known here: how packets travel.
"""

from __future__ import annotations

from blockstep_lab.conditions import Conditions
from blockstep_lab.impairment import Counters, Delivery, Impairment
from blockstep_lab.rules import FlowRules, apply_rules

__all__ = ["Hop"]


class Hop:
    """An `Impairment` and the rules above it, for one direction (`"up"`: client to server, or `"down"`)."""

    def __init__(self, conditions: Conditions, seed: int | str, direction: str, *, header_bytes: int = 0) -> None:
        self.direction = direction
        self.impairment = Impairment(conditions, seed, direction, header_bytes=header_bytes)

    @property
    def counters(self) -> Counters:
        """What happened so far, link and rules together."""
        return self.impairment.counters

    def admit(self, packet: bytes, now: float, flow: FlowRules | None = None) -> list[Delivery]:
        """The copies that arrive, each with its time; `flow` is the transfer's rules, if there are any."""
        deliveries = self.impairment.admit(packet, now)
        if flow is None:
            return deliveries
        acting = flow.actions_for(self.direction, packet)
        return apply_rules(acting, deliveries, self.counters) if acting else deliveries
