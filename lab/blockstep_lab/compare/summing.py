"""From runs to cells: what many runs of one contender on one link come to.

Decided here: void runs count for nothing, and a cell of which at most half of the runs are valid is void itself. Among
the valid ones the more frequent end is the cell's (max-time before ok, failed before both, where they are as many), so
that a cell never looks better than most of its runs. Not known here: links and theory.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from blockstep_lab.compare.laws import laws_for
from blockstep_lab.compare.results import FAILED, MAX_TIME, OK, VOID, Cell, Contender, Interval, LinkSpec, Run
from blockstep_lab.compare.statistics import bootstrap

__all__ = ["cell_of", "cells_of"]

_WORST_FIRST = (FAILED, MAX_TIME, OK)
_GB = 1e9


def cells_of(
    runs: Sequence[Run], contenders: Sequence[Contender], links: Sequence[LinkSpec], mtu: int = 1500
) -> tuple[Cell, ...]:
    """A cell for each link and contender that has runs, link by link."""
    by_pair: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        by_pair.setdefault((run.link, run.contender), []).append(run)
    return tuple(
        cell_of(by_pair[link.id, contender.id], laws_for(contender, link, mtu))
        for link in links
        for contender in contenders
        if (link.id, contender.id) in by_pair
    )


def cell_of(runs: Sequence[Run], theory: dict[str, float]) -> Cell:
    """At least one run, all of one contender on one link."""
    valid = [run for run in runs if run.state != VOID]
    state = _state(runs, valid)
    reasons = [run.reason for run in runs if run.state == state and run.reason]
    shown = [run for run in valid if run.state in (OK, MAX_TIME)] if state in (OK, MAX_TIME) else []

    def interval(of: Callable[[Run], float | None]) -> Interval | None:
        values = [float(value) for run in shown if (value := of(run)) is not None]
        return bootstrap(values) if values else None

    return Cell(
        contender=runs[0].contender,
        link=runs[0].link,
        state=state,
        reason=Counter(reasons).most_common(1)[0][0] if reasons and state != OK else None,
        runs=len(runs),
        valid=len(valid),
        goodput_bit_s=interval(lambda run: run.goodput_bit_s),
        total_s=interval(lambda run: run.total_s),
        first_byte_s=interval(lambda run: run.first_byte_s),
        longest_stall_s=interval(lambda run: run.longest_stall_s),
        overhead=interval(lambda run: _per_byte(run.wire_bytes, run, less=1.0)),
        resends=interval(lambda run: run.resends),
        cpu_sender_s_per_gb=interval(lambda run: _per_byte(run.cpu_sender_s, run, scale=_GB)),
        cpu_receiver_s_per_gb=interval(lambda run: _per_byte(run.cpu_receiver_s, run, scale=_GB)),
        theory=theory,
    )


def _state(runs: Sequence[Run], valid: Sequence[Run]) -> str:
    if 2 * len(valid) <= len(runs):
        return VOID
    counted = Counter(run.state for run in valid)
    return max(_WORST_FIRST, key=lambda state: counted[state])


def _per_byte(value: float | None, run: Run, *, scale: float = 1.0, less: float = 0.0) -> float | None:
    return None if value is None or not run.file_bytes else value / run.file_bytes * scale - less
