"""What a relay did, as values, as JSON and as a table.

Decided here: the columns, and that a relay which itself lost something says so. Not known here: where the numbers come
from.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

from blockstep_lab.impairment import Counters

__all__ = ["DirectionReport", "RelayReport", "Troubles"]


@dataclass(slots=True)
class Troubles:
    """What the relay did to packets without having been asked to; all of it should be zero.

    `kernel_drops`: its receive buffers were full. `no_room`: too much was being held back. `system_errors`: the system
    would not send or receive. `no_ports`: too many clients or servers at once. `strangers`: datagrams from hosts that
    are not the upstream's.
    """

    kernel_drops: int = 0
    no_room: int = 0
    system_errors: int = 0
    no_ports: int = 0
    strangers: int = 0
    unrecorded: int = 0


@dataclass(slots=True)
class DirectionReport:
    """One direction: its conditions in netem's words, its counters, and the delay of what was delivered (seconds)."""

    conditions: str
    counters: Counters
    delay_median_s: float | None
    delay_p99_s: float | None


@dataclass(slots=True)
class RelayReport:
    """Everything that a relay counted. `rules` pairs each rule with the number of packets it acted on."""

    seed: str
    up: DirectionReport
    down: DirectionReport
    rules: list[tuple[str, int]] = field(default_factory=list)
    troubles: Troubles = field(default_factory=Troubles)

    def to_json(self) -> str:
        """One line of JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str | bytes) -> RelayReport:
        """The report that `to_json` wrote; it trusts its input."""
        raw = json.loads(text)
        up, down = (
            DirectionReport(**{**raw[direction], "counters": Counters(**raw[direction]["counters"])})
            for direction in ("up", "down")
        )
        rules = [(str(rule), int(hits)) for rule, hits in raw["rules"]]
        return cls(raw["seed"], up, down, rules, Troubles(**raw["troubles"]))

    def to_table(self) -> str:
        """Lines for a terminal: seed, conditions, one row for each direction, the rules, the troubles."""
        rows = [_HEADINGS, _row("up", self.up), _row("down", self.down)]
        lines = [
            f"seed {self.seed}",
            f"up    netem {self.up.conditions}".rstrip(),
            f"down  netem {self.down.conditions}".rstrip(),
            *_aligned(rows),
            *(f"rule  {rule}: {_packets(hits)}" for rule, hits in self.rules),
            *(f"warning: {text}: {_packets(count)}" for text, count in self._trouble_lines()),
        ]
        return "\n".join(lines)

    def _trouble_lines(self) -> list[tuple[str, int]]:
        return [(text, count) for name, text in _TROUBLES.items() if (count := getattr(self.troubles, name))]


_HEADINGS = (
    *("", "packets", "delivered", "lost", "queue full", "duplicated", "reordered", "corrupted"),
    *("delay median", "p99"),
)
_TROUBLES = {
    "kernel_drops": "the relay was too slow and the kernel dropped",
    "no_room": "too much was held back; the relay dropped",
    "system_errors": "the system would not send or receive",
    "no_ports": "too many clients or servers at once; the relay dropped",
    "strangers": "not from the upstream's host, so not passed on",
    "unrecorded": "the disk took no more, so not in the capture",
}


def _row(name: str, direction: DirectionReport) -> Sequence[str]:
    counters = direction.counters
    counts = (
        *(counters.packets, counters.delivered, counters.lost, counters.tail_dropped),
        *(counters.duplicated, counters.reordered, counters.corrupted),
    )
    delays = (direction.delay_median_s, direction.delay_p99_s)
    return (name, *(f"{count:,}" for count in counts), *map(_milliseconds, delays))


def _milliseconds(time_s: float | None) -> str:
    return "-" if time_s is None else f"{time_s * 1000:.2f} ms"


def _packets(count: int) -> str:
    return f"{count:,} packet" + ("" if count == 1 else "s")


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if not place else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
