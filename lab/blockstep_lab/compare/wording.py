"""What the numbers say, in sentences: where UDP is ahead, where TCP is, and why.

Decided here: who is ahead (the best window against the best congestion control, medians a tenth apart and intervals
that do not touch), and which known cause the numbers of that very cell show. A cause is named only where its sign is
there: a window that the round trip limits, blocks sent again, a loss-driven congestion control on a link with loss, a
file that is over before slow start is. Nothing is said about void cells but that they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from blockstep_lab.compare.laws import GO_BACK_N, KEPT, LINK_RATE, MATHIS, WINDOW
from blockstep_lab.compare.results import (
    FAILED,
    LOCAL,
    MAX_TIME,
    OK,
    VOID,
    Cell,
    CompareResult,
    Contender,
    Finding,
    LinkSpec,
)
from blockstep_lab.compare.statistics import median, relative_difference

__all__ = ["findings_of", "rate_text", "summary_of", "time_text"]

_APART = 0.10
_NEAR_A_LAW = 0.05
# A window below this share of the link is limited by the round trip, above that of the rate by the link.
_ROUND_TRIP_LIMITS = 0.7
# So many round trips are hardly more than slow start.
_FEW_ROUND_TRIPS = 15
_MANY_RESENDS = 0.1
_ENOUGH_REPEATS = 3
_NAMED = 3
_LOSS_DRIVEN = {"reno": "halves its window", "cubic": "cuts its window by 30 %"}


@dataclass(frozen=True, slots=True)
class _Verdict:
    """The best of both transports on a link. `kind` as in `Finding`."""

    link: LinkSpec
    kind: str
    udp: tuple[Contender, Cell]
    tcp: tuple[Contender, Cell]


def summary_of(record: CompareResult) -> str:
    """Two or three sentences: the count, the largest lead on each side."""
    verdicts = _verdicts(record)
    if not verdicts:
        return "There is no link on which both UDP and TCP have a valid result, so nothing is compared."
    counts = {kind: sum(verdict.kind == kind for verdict in verdicts) for kind in ("tcp", "udp", "even")}
    links = "1 link" if len(verdicts) == 1 else f"{len(verdicts)} links"
    parts = [f"Of {links}, TCP is ahead on {counts['tcp']} and UDP on {counts['udp']}"]
    if counts["even"]:
        parts[0] += f"; on {counts['even']} they are level"
    for kind, name in (("udp", "UDP"), ("tcp", "TCP")):
        largest = max((each for each in verdicts if each.kind == kind), key=_lead, default=None)
        if largest is not None:
            parts.append(
                f"{name}'s largest lead is {_lead(largest):.1f} times, on {largest.link.label}: {_pair(largest)}"
            )
    return ". ".join(parts) + "."


def findings_of(record: CompareResult) -> tuple[Finding, ...]:
    """Sentences: link by link, then about theory, then what to beware of."""
    found = [_told(verdict, record) for verdict in _verdicts(record)]
    found += _controls(record)
    found += _laws(record)
    found += _ceilings(record)
    found += _cautions(record)
    return tuple(found)


# Who is ahead.


def _verdicts(record: CompareResult) -> list[_Verdict]:
    found = []
    for link in record.links:
        udp, tcp = _best(record, link, "udp"), _best(record, link, "tcp")
        if link.id != LOCAL and udp is not None and tcp is not None:
            found.append(_Verdict(link, _ahead(udp[1], tcp[1]), udp, tcp))
    return found


def _best(record: CompareResult, link: LinkSpec, transport: str) -> tuple[Contender, Cell] | None:
    cells = ((each, record.cell(each.id, link.id)) for each in record.contenders if each.transport == transport)
    shown = [(contender, cell) for contender, cell in cells if cell is not None and cell.goodput_bit_s is not None]
    return max(shown, key=lambda pair: _goodput(pair[1]), default=None)


def _ahead(udp: Cell, tcp: Cell) -> str:
    one, other = udp.goodput_bit_s, tcp.goodput_bit_s
    assert one is not None
    assert other is not None
    touch = one.low <= other.high and other.low <= one.high
    if touch or relative_difference(one.median, other.median) < _APART:
        return "even"
    return "udp" if one.median > other.median else "tcp"


def _lead(verdict: _Verdict) -> float:
    goodputs = sorted((_goodput(verdict.udp[1]), _goodput(verdict.tcp[1])))
    return goodputs[1] / goodputs[0] if goodputs[0] else 0.0


def _pair(verdict: _Verdict) -> str:
    sides = sorted((verdict.udp, verdict.tcp), key=lambda side: -_goodput(side[1]))
    return " against ".join(f"{contender.label} {rate_text(_goodput(cell))}" for contender, cell in sides)


# Why.


def _told(verdict: _Verdict, record: CompareResult) -> Finding:
    where = verdict.link.label
    if verdict.kind == "even":
        text = f"{where}: {_pair(verdict)}, which is level."
    elif verdict.kind == "tcp":
        text = f"{where}: TCP is ahead, {_pair(verdict)}. {_why_tcp(verdict)} {_beaten(verdict, record)}"
    else:
        text = f"{where}: UDP is ahead, {_pair(verdict)}. {_why_udp(verdict, record)}"
    return Finding(verdict.kind, text.strip(), verdict.link.id)


def _why_tcp(verdict: _Verdict) -> str:
    contender, cell = verdict.udp
    causes = []
    window, rate = cell.theory.get(WINDOW), cell.theory.get(LINK_RATE)
    if window and (rate is None or window < _ROUND_TRIP_LIMITS * rate):
        blocks = "1 block" if contender.windowsize == 1 else f"{contender.windowsize} blocks"
        causes.append(f"UDP sends {blocks} and then waits for the ACK, which allows {rate_text(window)} at most;")
        causes.append("TCP's window grows until the link is full.")
    resends, blocks_of_file = _resends(cell), _file_bytes(cell) / contender.blksize
    if resends > _MANY_RESENDS * blocks_of_file:
        again = f"{resends:,.0f} of {blocks_of_file:,.0f} blocks went out again."
        causes.append(f"A lost block costs UDP the rest of its window: {again}")
    if verdict.link.loss and verdict.tcp[0].congestion == "bbr":
        causes.append("bbr sends at the rate that it has measured and does not take a loss for congestion.")
    return " ".join(causes)


def _beaten(verdict: _Verdict, record: CompareResult) -> str:
    """Which of TCP's other congestion controls are behind UDP where the best one is ahead."""
    behind = [
        (contender, cell)
        for contender, cell in _tcp_cells(record, verdict.link)
        if cell is not verdict.tcp[1] and _ahead(verdict.udp[1], cell) == "udp"
    ]
    if not behind:
        return ""
    names = " and ".join(f"{contender.label} ({rate_text(_goodput(cell))})" for contender, cell in behind)
    reactions = {contender.congestion for contender, _ in behind} & set(_LOSS_DRIVEN)
    why = (
        f", which {_LOSS_DRIVEN[min(filter(None, reactions))]} for every loss"
        if reactions and verdict.link.loss
        else ""
    )
    return f"UDP is ahead of {names}{why if len(behind) == 1 else ''}."


def _why_udp(verdict: _Verdict, record: CompareResult) -> str:
    contender, cell = verdict.tcp
    reaction = _LOSS_DRIVEN.get(contender.congestion or "")
    total_s, rtt_s = cell.total_s, verdict.link.rtt_s
    if verdict.link.loss and reaction:
        return f"TCP {contender.congestion} {reaction} for every loss; UDP keeps its window and sends again."
    if total_s and rtt_s and total_s.median < _FEW_ROUND_TRIPS * rtt_s:
        trips = total_s.median / rtt_s
        size = f"{record.method.file_bytes / 1e6:.3g} MB"
        return f"{size} are over after {trips:.0f} round trips, most of them TCP's connection and slow start."
    return ""


def _resends(cell: Cell) -> float:
    return cell.resends.median if cell.resends is not None else 0.0


def _file_bytes(cell: Cell) -> float:
    if cell.total_s is None or cell.goodput_bit_s is None:
        return 0.0
    return cell.total_s.median * cell.goodput_bit_s.median / 8


# What TCP's congestion controls make of one another's links.


def _controls(record: CompareResult) -> Iterator[Finding]:
    for link in record.links:
        cells = _tcp_cells(record, link)
        if link.loss and len(cells) > 1:
            cells.sort(key=lambda pair: -_goodput(pair[1]))
            (best, first), (worst, last) = cells[0], cells[-1]
            if _goodput(first) > 2 * _goodput(last):
                yield Finding(
                    "theory",
                    f"{link.label}: the congestion control decides what TCP is worth: {best.label} "
                    f"{rate_text(_goodput(first))}, {worst.label} {rate_text(_goodput(last))}.",
                    link.id,
                )


def _tcp_cells(record: CompareResult, link: LinkSpec) -> list[tuple[Contender, Cell]]:
    return [
        (contender, cell)
        for contender in record.contenders
        if contender.transport == "tcp" and not contender.ceiling
        if (cell := record.cell(contender.id, link.id)) is not None and cell.goodput_bit_s is not None
    ]


def _laws(record: CompareResult) -> Iterator[Finding]:
    """Where each law holds. A window is held to its law without loss, to go-back-N with it."""
    for law, name in _LAW_NAMES.items():
        ratios = [
            _goodput(cell) / cell.theory[law]
            for cell in record.cells
            if cell.state in (OK, MAX_TIME) and cell.goodput_bit_s is not None and law in cell.theory
            if _applies(law, record, cell)
        ]
        if ratios:
            near = sum(abs(ratio - 1) <= _NEAR_A_LAW for ratio in ratios)
            cells = "1 cell" if len(ratios) == 1 else f"{len(ratios)} cells"
            yield Finding(
                "theory",
                f"{name}: the median of measured over predicted is {median(ratios):.2f} in {cells} "
                f"({min(ratios):.2f} to {max(ratios):.2f}), {near} within {_NEAR_A_LAW:.0%}.",
                None,
            )


_LAW_NAMES = {
    WINDOW: "Window x blksize / RTT, without loss",
    GO_BACK_N: "Go-back-N, under loss",
    KEPT: "Go-back-N with early blocks kept, under loss",
    MATHIS: "Mathis' law for TCP reno",
    LINK_RATE: "The link's rate, TCP without loss",
}


def _applies(law: str, record: CompareResult, cell: Cell) -> bool:
    contender, link = record.contender(cell.contender), record.link(cell.link)
    if law == WINDOW:
        return not link.loss
    if law in (GO_BACK_N, KEPT):
        return bool(link.loss)
    if law == LINK_RATE:
        return contender.transport == "tcp" and not link.loss
    return law == MATHIS


def _ceilings(record: CompareResult) -> Iterator[Finding]:
    cells = [cell for cell in record.cells if cell.link == LOCAL and cell.goodput_bit_s is not None]
    if cells:
        told = ", ".join(f"{record.contender(cell.contender).label} {rate_text(_goodput(cell))}" for cell in cells)
        yield Finding("theory", f"Without a link this machine moves the file with {told}.", LOCAL)


# What to beware of.


def _cautions(record: CompareResult) -> Iterator[Finding]:
    for text in [*_state_cautions(record), *_method_cautions(record)]:
        yield Finding("caution", text, None)


def _state_cautions(record: CompareResult) -> Iterator[str]:
    for state, text in _STATES.items():
        cells = [cell for cell in record.cells if cell.state == state]
        if cells:
            names = [f"{record.contender(each.contender).label} on {record.link(each.link).label}" for each in cells]
            more = f" and {len(cells) - _NAMED} more" if len(cells) > _NAMED else ""
            yield f"{_cells(cells)} {text}: {'; '.join(names[:_NAMED])}{more}."


def _method_cautions(record: CompareResult) -> Iterator[str]:
    if not record.complete:
        yield f"{len(record.runs)} of {record.planned_runs} runs are done; the rest is missing."
    if any(contender.simulated for contender in record.contenders):
        yield "Rows that say so are simulated: the same machines on virtual time, without a kernel."
    if wide := [cell for cell in record.cells if _is_wide(cell)]:
        count = "1 cell has" if len(wide) == 1 else f"{len(wide)} cells have"
        yield f"{count} an interval wider than a fifth of the median: more repeats would help."
    if record.method.repeats < _ENOUGH_REPEATS:
        yield f"Fewer than {_ENOUGH_REPEATS} repeats: the intervals mean little."


_STATES = {
    VOID: "void, because the link's own checks failed",
    MAX_TIME: "stopped by --max-time; their goodput is of what had arrived",
    FAILED: "without the file",
}


def _cells(cells: Sequence[Cell]) -> str:
    return "1 cell is" if len(cells) == 1 else f"{len(cells)} cells are"


def _is_wide(cell: Cell) -> bool:
    goodput = cell.goodput_bit_s
    return goodput is not None and goodput.high - goodput.low > 0.2 * goodput.median


def _goodput(cell: Cell) -> float:
    return cell.goodput_bit_s.median if cell.goodput_bit_s is not None else 0.0


def rate_text(bit_s: float) -> str:
    """`46.5 Mbit/s`: three digits."""
    for size, unit in ((1e9, "Gbit/s"), (1e6, "Mbit/s"), (1e3, "kbit/s")):
        if bit_s >= size:
            return f"{_three(bit_s / size)} {unit}"
    return f"{_three(bit_s)} bit/s"


def time_text(time_s: float) -> str:
    """`1.25 s`, `12.5 ms`: three digits."""
    return f"{_three(time_s)} s" if time_s >= 1 else f"{_three(time_s * 1000)} ms"


def _three(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
