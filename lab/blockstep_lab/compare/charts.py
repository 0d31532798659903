"""Which charts a comparison has, as data: goodput against loss, against delay and against the windowsize.

Decided here: one chart for each set of links that differ in nothing but what the axis shows; that a chart needs two
points of one contender; which laws stand beside which points (a law for a window only where no better one speaks, and
the room between the two laws of go-back-N as one band); and what to say where there is no chart. Cells without a
number, void ones above all, are in no chart. Not known here: who draws.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from blockstep_lab.compare.axes import Axis, goodput_axis, value_axis
from blockstep_lab.compare.laws import GO_BACK_N, KEPT, LINK_RATE, WINDOW
from blockstep_lab.compare.results import (
    LOCAL,
    MAX_TIME,
    Cell,
    CompareResult,
    Contender,
    Interval,
    LinkSpec,
    TheoryLine,
)
from blockstep_lab.words import format_decimal

__all__ = ["AXES", "Chart", "Law", "Level", "Point", "Series", "charts_of", "why_none"]

AXES = ("loss", "delay", "windowsize")
_MEGA = 1e6
# Laws may leave the picture below; what was measured may not.
_ROOM_BELOW = 3.0


@dataclass(frozen=True, slots=True)
class Point:
    """A cell at its place. Goodput in Mbit/s; `stopped`: by `--max-time`."""

    x: float
    goodput: Interval
    contender: Contender
    stopped: bool


@dataclass(frozen=True, slots=True)
class Series:
    """Points that belong together, from left to right. `contender` is None where each point is another one."""

    contender: Contender | None
    label: str
    points: tuple[Point, ...]


@dataclass(frozen=True, slots=True)
class Level:
    """A contender that the axis does not concern: TCP beside UDP's windows."""

    contender: Contender
    goodput: Interval


@dataclass(frozen=True, slots=True)
class Law:
    """A line of theory, or the room from `low` to `high`. `contender` is an id, None for what holds for all."""

    label: str
    contender: str | None
    x: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...] | None


@dataclass(frozen=True, slots=True)
class Chart:
    """One picture. `where` says what all of its points have in common; `id` is for file names and anchors."""

    id: str
    axis: str
    title: str
    where: str
    x: Axis
    y: Axis
    series: tuple[Series, ...]
    levels: tuple[Level, ...]
    laws: tuple[Law, ...]


def charts_of(record: CompareResult) -> list[Chart]:
    """All of them, by axis in the order of `AXES`, then as the links come."""
    return [*_loss_charts(record), *_delay_charts(record), *_window_charts(record)]


def why_none(record: CompareResult, axis: str) -> str:
    """A sentence for an axis without a chart."""
    if axis == "windowsize":
        count = len({each.windowsize for each in record.contenders if each.transport == "udp" and not each.ceiling})
        one, listing = "one windowsize", "--windowsize 1,16,64"
    else:
        links = [link for link in record.links if _is_plain(link)]
        count = len({link.loss if axis == "loss" else link.delay_s for link in links})
        one, listing = f"one {axis}", "--loss 0,0.1,1,5" if axis == "loss" else "--delay 5ms,25ms"
    if record.method.where == "host" and axis != "windowsize":
        return f"No chart of goodput against {axis}: the path is not ours, so its {axis} was not varied."
    if count < 2:
        return f"No chart of goodput against {axis}: there is only {one} here. Several are asked for as {listing}."
    return f"No chart of goodput against {axis}: no contender has two valid points that differ in nothing else."


# Against loss and against delay: every contender is a series.


def _loss_charts(record: CompareResult) -> Iterator[Chart]:
    for links in _groups(record, lambda link: (link.delay_s, link.rtt_s, link.rate_bit_s)):
        where = f"Delay {_delay(links[0].delay_s or 0)} each way, {_rate(links[0])}"
        yield from _link_chart(record, "loss", links, where)


def _delay_charts(record: CompareResult) -> Iterator[Chart]:
    for links in _groups(record, lambda link: (link.loss, link.rate_bit_s)):
        where = f"Loss {_percent(links[0].loss or 0)} each way, {_rate(links[0])}"
        yield from _link_chart(record, "delay", links, where)


def _link_chart(record: CompareResult, axis: str, links: Sequence[LinkSpec], where: str) -> Iterator[Chart]:
    def value(link: LinkSpec) -> float:
        return (link.loss if axis == "loss" else link.delay_s) or 0.0

    series = []
    for contender in record.contenders:
        found = ((value(link), record.cell(contender.id, link.id)) for link in links)
        points = [_point(x, cell, contender) for x, cell in found if cell is not None and cell.goodput_bit_s]
        if points:
            series.append(Series(contender, contender.label, _ordered(points)))
    if any(len({point.x for point in each.points}) > 1 for each in series):
        title, text = _TITLES[axis]
        laws = _laws(record, axis, links)
        x = value_axis(title, (value(link) for link in links), (x for law in laws for x in law.x), text)
        yield _chart(f"{axis}-{links[0].id}", where, x, series=series, laws=laws)


# Against the windowsize: one series for each blksize, and TCP as levels.


def _window_charts(record: CompareResult) -> Iterator[Chart]:
    for link in record.links:
        if link.id == LOCAL:
            continue
        series = list(_window_series(record, link))
        if any(len({point.x for point in each.points}) > 1 for each in series):
            levels = tuple(_levels(record, link))
            laws = _laws(record, "windowsize", [link])
            measured = [point.x for each in series for point in each.points]
            laws = [law for law in laws if law.x and law.x[0] <= max(measured)]
            title, text = _TITLES["windowsize"]
            lines = [x for law in laws for x in law.x]
            x = value_axis(title, measured, lines, text, more_ticks=lines)
            where = link.label[:1].upper() + link.label[1:]
            yield _chart(f"windowsize-{link.id}", where, x, series=series, laws=laws, levels=levels)


def _window_series(record: CompareResult, link: LinkSpec) -> Iterator[Series]:
    udp = [each for each in record.contenders if each.transport == "udp" and not each.ceiling and each.windowsize]
    for blksize in dict.fromkeys(each.blksize for each in udp):
        found = ((each, record.cell(each.id, link.id)) for each in udp if each.blksize == blksize)
        points = [
            _point(each.windowsize or 1, cell, each) for each, cell in found if cell is not None and cell.goodput_bit_s
        ]
        if points:
            yield Series(None, f"UDP, {blksize} byte blocks", _ordered(points))


def _levels(record: CompareResult, link: LinkSpec) -> Iterator[Level]:
    for contender in record.contenders:
        cell = record.cell(contender.id, link.id)
        if contender.transport == "tcp" and not contender.ceiling and cell is not None and cell.goodput_bit_s:
            yield Level(contender, _mega(cell.goodput_bit_s))


# What they share.


def _chart(  # keyword-only where the parts are alike
    chart_id: str, where: str, x: Axis, *, series: Sequence[Series], laws: Sequence[Law], levels: Sequence[Level] = ()
) -> Chart:
    axis = chart_id.partition("-")[0]
    intervals = [point.goodput for each in series for point in each.points] + [level.goodput for level in levels]
    measured = [value for each in intervals for value in (each.low, each.median, each.high) if value > 0]
    floor = min(measured) / _ROOM_BELOW
    theory = [value for law in laws for value in (*law.low, *(law.high or ())) if value >= floor]
    title = f"Goodput against {axis}"
    y = goodput_axis([*measured, *theory])
    return Chart(chart_id, axis, title, where, x, y, tuple(series), tuple(levels), tuple(laws))


def _point(x: float, cell: Cell, contender: Contender) -> Point:
    assert cell.goodput_bit_s is not None
    return Point(x, _mega(cell.goodput_bit_s), contender, cell.state == MAX_TIME)


def _ordered(points: Iterable[Point]) -> tuple[Point, ...]:
    return tuple(sorted(points, key=lambda point: point.x))


def _mega(interval: Interval) -> Interval:
    return Interval(interval.median / _MEGA, interval.low / _MEGA, interval.high / _MEGA)


def _laws(record: CompareResult, axis: str, links: Sequence[LinkSpec]) -> list[Law]:
    ids = {link.id for link in links}
    lines = [line for line in record.lines if line.axis == axis and line.link in ids]
    better = {line.contender for line in lines if line.law == GO_BACK_N}
    kept = {line.contender: line for line in lines if line.law == KEPT}
    found = []
    for line in lines:
        if line.law == KEPT or (line.law == WINDOW and line.contender in better):
            continue
        found.append(_law(line, kept.get(line.contender) if line.law == GO_BACK_N else None))
    return sorted(found, key=lambda law: law.label == LINK_RATE)


def _law(line: TheoryLine, upper: TheoryLine | None) -> Law:
    """The second law may begin later than the first (one block has no gap): there both are the same."""
    low = tuple(value / _MEGA for value in line.goodput_bit_s)
    if upper is None:
        return Law(line.label, line.contender, line.x, low, None)
    above = dict(zip(upper.x, upper.goodput_bit_s, strict=True))
    high = tuple(above.get(x, value * _MEGA) / _MEGA for x, value in zip(line.x, low, strict=True))
    return Law(line.label, line.contender, line.x, low, high)


def _is_plain(link: LinkSpec) -> bool:
    """What a grid is made of: the same both ways, and described in full by loss, delay and rate."""
    return link.id != LOCAL and link.regular and link.loss is not None and link.loss == link.loss_back


def _groups(record: CompareResult, key: Callable[[LinkSpec], object]) -> Iterator[list[LinkSpec]]:
    groups: dict[object, list[LinkSpec]] = {}
    for link in record.links:
        if _is_plain(link):
            groups.setdefault(key(link), []).append(link)
    yield from (links for links in groups.values() if len(links) > 1)


def _rate(link: LinkSpec) -> str:
    return "no bottleneck" if link.rate_bit_s is None else f"{link.rate_bit_s / _MEGA:g} Mbit/s"


def _percent(share: float) -> str:
    return f"{format_decimal(round(share * 100, 6))} %"


def _delay(delay_s: float) -> str:
    if delay_s == 0:
        return "0"
    return (
        f"{delay_s:g} s" if delay_s >= 1 else f"{delay_s * 1e3:g} ms" if delay_s >= 0.001 else f"{delay_s * 1e6:g} µs"
    )


_TITLES: dict[str, tuple[str, Callable[[float], str]]] = {
    "loss": ("packets lost, each way", lambda value: _percent(value) if value else "0"),
    "delay": ("delay, one way", _delay),
    "windowsize": ("windowsize, blocks", lambda value: f"{value:g}"),
}
