"""A comparison as plain text: one block of aligned rows for each link, then the sentences.

Decided here: the columns, and that a cell without a valid number shows its state and reason in their place.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from blockstep_lab.compare.laws import GO_BACK_N, LINK_RATE, MATHIS, WINDOW, maybe_share
from blockstep_lab.compare.results import MAX_TIME, Cell, CompareResult, Contender, Interval, LinkSpec
from blockstep_lab.compare.wording import rate_text, time_text

__all__ = ["to_table"]

_HEADINGS = (
    *("", "goodput", "95 % interval", "of law", "time", "first byte", "stall", "resent", "overhead"),
    *("CPU s/GB send", "receive", "runs"),
)
_NOTHING = "-"
_WIDTH = 110
_SHORT = {WINDOW: "window", GO_BACK_N: "gbn", MATHIS: "Mathis", LINK_RATE: "link"}


def to_table(record: CompareResult) -> str:
    """Lines for a terminal, without a final newline."""
    lines = _head(record)
    for link in record.links:
        lines += _link_lines(record, link)
    lines += ["", *textwrap.wrap(record.summary, _WIDTH)]
    for finding in record.findings:
        mark = {"caution": "!", "theory": "="}.get(finding.kind, "-")
        lines += textwrap.wrap(finding.text, _WIDTH, initial_indent=f"{mark} ", subsequent_indent="  ")
    return "\n".join(lines)


def _head(record: CompareResult) -> list[str]:
    method = record.method
    place = {
        "namespaces": f"network namespaces ({method.carrier}, router {method.scheduler})",
        "host": f"a real path to {method.host}",
        "simulation": "virtual time, everything is simulated",
    }[method.where]
    done = "" if record.complete else f", UNFINISHED: {len(record.runs)} of {record.planned_runs} runs"
    took = f"took {method.elapsed_s:.0f} s{done}"
    return [
        f"{method.file_name}, {method.file_bytes:,} bytes, over {place}",
        f"{method.repeats} repeats in turns, seed {method.seed}, {method.max_time_s:g} s each at most, {took}",
        f"blockstep {method.blockstep}, Python {method.python}, {method.kernel}, {method.processors} x {method.cpu}",
    ]


def _link_lines(record: CompareResult, link: LinkSpec) -> list[str]:
    cells = [cell for cell in record.cells if cell.link == link.id]
    if not cells:
        return []
    rows = [_HEADINGS, *(_row(record.contender(cell.contender), cell) for cell in cells)]
    return ["", link.label, *_aligned(rows)]


def _row(contender: Contender, cell: Cell) -> tuple[str, ...]:
    goodput = cell.goodput_bit_s
    if goodput is None:
        return (contender.label, cell.state.upper(), cell.reason or "")
    runs = str(cell.valid) if cell.valid == cell.runs else f"{cell.valid} of {cell.runs}"
    if cell.state == MAX_TIME:
        runs += " (max-time)"
    return (
        contender.label,
        rate_text(goodput.median),
        f"{rate_text(goodput.low)} .. {rate_text(goodput.high)}",
        _of_law(cell),
        _shown_time(cell.total_s),
        _shown_time(cell.first_byte_s),
        _shown_time(cell.longest_stall_s),
        _NOTHING if cell.resends is None else f"{cell.resends.median:,.0f}",
        _NOTHING if cell.overhead is None else f"{cell.overhead.median:.1%}",
        _shown(cell.cpu_sender_s_per_gb),
        _shown(cell.cpu_receiver_s_per_gb),
        runs,
    )


def _of_law(cell: Cell) -> str:
    found = maybe_share(cell)
    return _NOTHING if found is None else f"{found[1]:.2f} {_SHORT[found[0]]}"


def _shown_time(interval: Interval | None) -> str:
    return _NOTHING if interval is None else time_text(interval.median)


def _shown(interval: Interval | None) -> str:
    return _NOTHING if interval is None else f"{interval.median:.1f}"


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Names to the left, numbers to the right; a row that is short is a message and widens nothing."""
    whole = [row for row in rows if len(row) == len(rows[0])]
    names = max(len(row[0]) for row in rows)
    widths = [names, *(max(len(row[place]) for row in whole) for place in range(1, len(rows[0])))]
    return [
        "  " + _line(row, widths) if len(row) == len(widths) else f"  {row[0].ljust(names)}  {row[1]}: {row[2]}"
        for row in rows
    ]


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    cells = [
        cell.ljust(width) if not place else cell.rjust(width)
        for place, (cell, width) in enumerate(zip(row, widths, strict=True))
    ]
    return "  ".join(cells).rstrip()
