"""What many simulated transfers came to, as JSON and as a table.

Decided here: the columns, and that every failure is named with the seed that shows it again. Not known here: how the
numbers were made.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

from blockstep.protocol.wire import Opcode
from blockstep_lab.simulation import Distribution, Run, Scenario

__all__ = ["SimulationReport"]

_HEADINGS = ("", "min", "median", "p90", "p99", "max")
_SEEDS_SHOWN = 5


@dataclass(frozen=True, slots=True)
class SimulationReport:
    """All runs of a scenario, in the order of their seeds. `wall_s` is how long the simulation itself took."""

    scenario: Scenario
    runs: Sequence[Run]
    wall_s: float

    @property
    def good(self) -> list[Run]:
        """The runs that brought the file."""
        return [run for run in self.runs if run.failure is None]

    @property
    def failures(self) -> dict[str, list[int]]:
        """Each kind of failure with the seeds of its runs."""
        seeds: dict[str, list[int]] = defaultdict(list)
        for run in self.runs:
            if run.failure is not None:
                seeds[run.failure].append(run.seed)
        return dict(seeds)

    def distributions(self) -> dict[str, Distribution]:
        """By name: seconds and goodput (bytes/s) of the good runs, then what is counted, of all of them."""
        size = len(self.scenario.plan.content)
        columns: dict[str, Sequence[float]] = {
            "seconds": [run.seconds for run in self.good if run.seconds is not None],
            "goodput_bytes_per_s": [size / run.seconds for run in self.good if run.seconds],
            "resends": [run.resends for run in self.runs],
            "timeouts": [run.timeouts for run in self.runs],
            "packets": [run.packets for run in self.runs],
            "lost": [run.lost for run in self.runs],
        }
        return {name: Distribution.of(values) for name, values in columns.items() if values}

    def to_json(self) -> str:
        """One line: what was run, the distributions, the failures, and every run."""
        scenario, plan = self.scenario, self.scenario.plan
        wanted = plan.wanted
        document = {
            "op": _op(plan.opcode),
            "size_bytes": len(plan.content),
            "blksize": wanted.blksize,
            "windowsize": wanted.windowsize,
            "timeout_s": wanted.timeout_s,
            "up": str(scenario.up),
            "down": str(scenario.down),
            "rules": [str(rule) for rule in scenario.rules],
            "wall_s": round(self.wall_s, 3),
            **{name: asdict(distribution) for name, distribution in self.distributions().items()},
            "failures": self.failures,
            "runs": [asdict(run) for run in self.runs],
        }
        return json.dumps(document)

    def to_table(self) -> str:
        """What was run, one row for each quantity, the failures, and how much simulated time went into how much."""
        rows: list[tuple[str, ...]] = [_HEADINGS if len(self.runs) > 1 else ("", "")]
        for name, distribution in self.distributions().items():
            title, show = _SHOWN[name]
            rows.append((title, *(show(value) for value in asdict(distribution).values()))[: len(rows[0])])
        table = [line for line in _aligned(rows) if line.strip()]
        return "\n".join([*_subject(self.scenario, self.runs), *table, *self._failure_lines(), self._effort()])

    def _failure_lines(self) -> list[str]:
        lines = []
        for failure, seeds in self.failures.items():
            shown = ", ".join(map(str, seeds[:_SEEDS_SHOWN])) + (", ..." if len(seeds) > _SEEDS_SHOWN else "")
            lines.append(f"failed {len(seeds):,} of {len(self.runs):,}: {failure} (--seed {shown})")
        return lines

    def _effort(self) -> str:
        simulated = sum(run.seconds or 0.0 for run in self.runs)
        events = sum(run.events for run in self.runs)
        return f"{_duration(simulated)} of transfers in {self.wall_s:.1f} s, {events:,} events"


def _subject(scenario: Scenario, runs: Sequence[Run]) -> list[str]:
    plan = scenario.plan
    wanted = plan.wanted
    words = [f"{_op(plan.opcode)} {_size(len(plan.content))}", f"blksize {wanted.blksize or 512}"]
    words.append(f"windowsize {wanted.windowsize or 1}")
    if wanted.timeout_s is not None:
        words.append(f"timeout {wanted.timeout_s:g} s")
    first, last = min(run.seed for run in runs), max(run.seed for run in runs)
    words.append(f"seed {first}" if first == last else f"{len(runs):,} runs, seeds {first} to {last}")
    return [
        ", ".join(words),
        f"up    netem {scenario.up}".rstrip(),
        f"down  netem {scenario.down}".rstrip(),
        *(f"rule  {rule}" for rule in scenario.rules),
    ]


def _op(opcode: Opcode) -> str:
    return "get" if opcode is Opcode.RRQ else "put"


def _size(octets: float) -> str:
    """In powers of ten, as rates of networks are."""
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if octets >= size:
            return f"{octets / size:.3g} {unit}"
    return f"{octets:.0f} B"


def _duration(seconds: float) -> str:
    if seconds >= 3600:
        return f"{seconds / 3600:.2f} h"
    if seconds >= 60:
        return f"{seconds / 60:.2f} min"
    return f"{seconds:.3f} s" if seconds >= 1 else f"{seconds * 1000:.3g} ms"


def _count(value: float) -> str:
    return f"{value:,.0f}"


_SHOWN: dict[str, tuple[str, Callable[[float], str]]] = {
    "seconds": ("time", _duration),
    "goodput_bytes_per_s": ("goodput", lambda value: f"{_size(value)}/s"),
    "resends": ("resends", _count),
    "timeouts": ("timeouts", _count),
    "packets": ("packets", _count),
    "lost": ("lost", _count),
}


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if not place else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
