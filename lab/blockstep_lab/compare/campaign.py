"""A comparison while it is made: what is done, what is to do, and the record of it at any time.

Decided here: which runs' courses are kept (one of each contender, on the first link without loss and on the first with
it), that a record can be resumed only by the very same grid, and that a resumed one counts its time on. Not known here:
how runs are made and where the record is stored.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from blockstep.protocol.errors import LocalError
from blockstep_lab.compare.grid import Grid, Order
from blockstep_lab.compare.laws import lines_for
from blockstep_lab.compare.outcome import Observed
from blockstep_lab.compare.results import LOCAL, SCHEMA, CompareResult, Method, Run, TimeSequence
from blockstep_lab.compare.summing import cells_of
from blockstep_lab.compare.wording import findings_of, summary_of

__all__ = ["Campaign", "computed"]


class Campaign:
    """Goes through a grid. `method` describes it; its time grows with `spent`."""

    def __init__(self, grid: Grid, method: Method) -> None:
        self.grid = grid
        self.method = method
        self._orders = list(grid.orders())
        self._runs: dict[tuple[str, str, int], Run] = {}
        self._sequences: dict[tuple[str, str], TimeSequence] = {}
        self._shown_links = _shown_links(grid)

    def resume(self, record: CompareResult) -> None:
        """Takes over what a record has. LocalError if it is of another comparison."""
        if record.method.grid != self.method.grid:
            raise LocalError(f"this is another comparison than the one to be resumed{_difference(self.method, record)}")
        self.method = replace(self.method, started_at=record.method.started_at, elapsed_s=record.method.elapsed_s)
        for run in record.runs:
            self._runs[run.contender, run.link, run.repeat] = run
        for sequence in record.sequences:
            self._sequences[sequence.contender, sequence.link] = sequence

    @property
    def planned(self) -> int:
        """How many runs there are in all."""
        return len(self._orders)

    @property
    def has_runs(self) -> bool:
        """Whether anything is done."""
        return bool(self._runs)

    def pending(self, *, simulated: bool) -> list[Order]:
        """Those that are to be made, simulated or not, in their order."""
        return [
            order for order in self._orders if order.key not in self._runs and order.contender.simulated == simulated
        ]

    def add(self, observed: Observed) -> None:
        """A run is done."""
        run, sequence = observed.run, observed.sequence
        self._runs[run.contender, run.link, run.repeat] = run
        if sequence is not None and sequence.link in self._shown_links:
            self._sequences.setdefault((sequence.contender, sequence.link), sequence)

    def spent(self, seconds: float) -> None:
        """Time that went into it."""
        self.method = replace(self.method, elapsed_s=self.method.elapsed_s + seconds)

    def checkpoint(self) -> CompareResult:
        """What was measured, without what can be computed from it."""
        runs = self._in_order()
        return CompareResult(
            schema=SCHEMA,
            complete=len(runs) == self.planned,
            planned_runs=self.planned,
            method=self.method,
            contenders=self.grid.contenders,
            links=self.grid.links,
            runs=runs,
            cells=(),
            sequences=tuple(self._sequences.values()),
            lines=(),
            summary="",
            findings=(),
        )

    def result(self) -> CompareResult:
        """The whole record of what there is so far."""
        return computed(self.checkpoint())

    def _in_order(self) -> tuple[Run, ...]:
        return tuple(self._runs[order.key] for order in self._orders if order.key in self._runs)


def computed(record: CompareResult) -> CompareResult:
    """The record with everything that its runs allow to say, whatever it said before."""
    mtu = record.method.link_mtu
    cells = cells_of(record.runs, record.contenders, record.links, mtu)
    record = replace(record, cells=cells, lines=lines_for(record.contenders, record.links, mtu))
    return replace(record, summary=summary_of(record), findings=findings_of(record))


def _shown_links(grid: Grid) -> set[str]:
    real = [link for link in grid.links if link.id != LOCAL]
    return _first(link.id for link in real if not link.loss) | _first(link.id for link in real if link.loss)


def _first(ids: Iterable[str]) -> set[str]:
    return {found} if (found := next(iter(ids), "")) else set()


def _difference(wanted: Method, record: CompareResult) -> str:
    """What a person would have to change, if it is one of the likely things."""
    found = record.method
    for name, what in _LIKELY.items():
        if getattr(wanted, name) != getattr(found, name):
            return f": {what} was {getattr(found, name)}, now it is {getattr(wanted, name)}"
    return f"; it began as: {' '.join(found.command)}"


_LIKELY = {
    "where": "the place",
    "host": "the host",
    "seed": "--seed",
    "repeats": "--repeat",
    "file_sha256": "the file's digest",
    "max_time_s": "--max-time",
}
