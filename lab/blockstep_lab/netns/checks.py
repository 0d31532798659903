"""What a run of the lab says about itself, and whether it may be believed.

Decided here: the gate. A run is void if a packet was lost that the model did not lose, if packets were late by more
than was asked for, or if a model lost another share than it was told to. Not known here: where the numbers come from.

The gate for the loss is five standard errors, which an honest run fails once in a million times; the 99 % interval is
printed.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

from blockstep_lab.conditions import Conditions
from blockstep_lab.impairment import Counters
from blockstep_lab.netns.expected import loss_interval

__all__ = ["LATE_P99_S", "DirectionChecks", "HostCounters", "LabChecks", "RouterReport"]

# The 99th percentile of the lateness that a valid run may have, in seconds.
LATE_P99_S = 0.002
_GATE_ERRORS = 5.0


@dataclass(slots=True)
class DirectionChecks:
    """One direction: its conditions in netem's words, its counters, and how late packets left (seconds)."""

    conditions: str
    counters: Counters
    late_p50_s: float
    late_p99_s: float
    late_most_s: float

    @property
    def offered(self) -> int:
        """Packets that met the loss model: those that found room in the queue."""
        return self.counters.packets - self.counters.tail_dropped

    @property
    def measured_loss(self) -> float:
        """The share (0 to 1) of the offered packets that were lost."""
        return self.counters.lost / self.offered if self.offered else 0.0

    def asked_loss(self) -> tuple[float, float] | None:
        """The 99 % interval of the share that was asked for; None where theory is not at hand or nothing was sent."""
        return loss_interval(Conditions.parse(self.conditions).loss, self.offered)


@dataclass(slots=True)
class RouterReport:
    """What the router counted. `strangers` are packets for nobody in the lab; `under_way` were not delivered yet."""

    up: DirectionChecks
    down: DirectionChecks
    rules: list[tuple[str, int]] = field(default_factory=list)
    ring_drops: int = 0
    under_way: int = 0
    no_room: int = 0
    send_errors: int = 0
    strangers: int = 0

    def to_json(self) -> str:
        """One line."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str | bytes) -> RouterReport:
        """The report that `to_json` wrote; it trusts its input."""
        raw = json.loads(text)
        for direction in ("up", "down"):
            said = raw[direction]
            raw[direction] = DirectionChecks(**{**said, "counters": Counters(**said["counters"])})
        raw["rules"] = [(str(rule), int(hits)) for rule, hits in raw["rules"]]
        return cls(**raw)


@dataclass(frozen=True, slots=True)
class HostCounters:
    """What a host's kernel counted since the lab began. `congestion` is what its TCP begins a connection with."""

    sent: int = 0
    received: int = 0
    ring_drops: int = 0
    udp_buffer_drops: int = 0
    tcp_resends: int = 0
    congestion: str = ""


@dataclass(slots=True)
class LabChecks:
    """Everything about one run. `hosts` are by name; `scheduler` is what the router got, and why no better."""

    seed: str
    carrier: str
    scheduler: str
    kernel: str
    left_to_right: DirectionChecks
    right_to_left: DirectionChecks
    hosts: dict[str, HostCounters]
    rules: list[tuple[str, int]]
    ring_drops: int = 0
    under_way: int = 0
    no_room: int = 0
    send_errors: int = 0
    strangers: int = 0
    late_p99_limit_s: float = LATE_P99_S

    @property
    def ok(self) -> bool:
        """Whether the run passed its gate."""
        return not self.failures()

    @property
    def congestion(self) -> str:
        """TCP's congestion control on the hosts; both if they differ."""
        return " and ".join(sorted({host.congestion for host in self.hosts.values()}))

    def failures(self) -> list[str]:
        """Why this run is void, one sentence for each reason; empty for a good one."""
        found = [
            text for name, text in _GATES.items() if getattr(self, name) for text in [_count(text, getattr(self, name))]
        ]
        for name, direction in self._directions():
            found += self._direction_failures(name, direction)
        return found

    def to_json(self) -> str:
        """One line of JSON, with the verdict."""
        verdict = {"ok": self.ok, "failures": self.failures(), "congestion": self.congestion}
        return json.dumps({**asdict(self), **verdict})

    def to_table(self) -> str:
        """Lines for a terminal."""
        directions = self._directions()
        lines = [
            f"seed {self.seed}, router {self.scheduler}, carrier {self.carrier}, TCP {self.congestion}, {self.kernel}",
            *(f"{name}  netem {direction.conditions}".rstrip() for name, direction in directions),
            *_aligned([_HEADINGS, *(_row(name, direction) for name, direction in directions)]),
            *(self._loss_line(name, direction) for name, direction in directions if direction.offered),
            *(f"rule  {rule}: {_count('packets', hits)}" for rule, hits in self.rules),
            self._trouble_line(),
        ]
        failures = self.failures()
        lines += [f"VOID: {text}" for text in failures] or ["self-checks passed"]
        return "\n".join(lines)

    def _loss_line(self, name: str, direction: DirectionChecks) -> str:
        asked = None if self.rules else direction.asked_loss()
        interval = f"; asked for {asked[0]:.3%} to {asked[1]:.3%} (99 % of runs)" if asked else ""
        return f"{name}  lost {direction.measured_loss:.3%} of {direction.offered:,}{interval}"

    def _trouble_line(self) -> str:
        drops = f"ring drops {self.ring_drops}, refused by the kernel {self.send_errors}"
        return f"{drops}, for nobody {self.strangers}, still under way {self.under_way}"

    def _directions(self) -> list[tuple[str, DirectionChecks]]:
        return [("left to right", self.left_to_right), ("right to left", self.right_to_left)]

    def _direction_failures(self, name: str, direction: DirectionChecks) -> list[str]:
        found = []
        if direction.late_p99_s > self.late_p99_limit_s:
            late, limit = (_milliseconds(each) for each in (direction.late_p99_s, self.late_p99_limit_s))
            found.append(f"{name}: 1 in 100 packets was more than {late} late, {limit} may be")
        allowed = loss_interval(Conditions.parse(direction.conditions).loss, direction.offered, _GATE_ERRORS)
        if allowed is not None and not self.rules and not allowed[0] <= direction.measured_loss <= allowed[1]:
            found.append(f"{name}: {direction.measured_loss:.3%} was lost, which the conditions do not explain")
        return found


_GATES = {
    "ring_drops": "packets were dropped between a host's device and the router",
    "no_room": "packets were dropped because too much was under way",
    "send_errors": "packets were refused by the kernel",
}
_HEADINGS = (
    *("", "packets", "delivered", "lost", "queue full", "duplicated", "reordered", "corrupted"),
    *("late p50", "p99", "most"),
)


def _row(name: str, direction: DirectionChecks) -> Sequence[str]:
    counters = direction.counters
    counts = (
        *(counters.packets, counters.delivered, counters.lost, counters.tail_dropped),
        *(counters.duplicated, counters.reordered, counters.corrupted),
    )
    lateness = direction.late_p50_s, direction.late_p99_s, direction.late_most_s
    return (name, *(f"{count:,}" for count in counts), *map(_milliseconds, lateness))


def _milliseconds(time_s: float) -> str:
    return f"{time_s * 1000:.2f} ms"


def _count(text: str, count: int) -> str:
    return f"{count:,} {text}"


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if not place else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
