"""Which laws of `theory` speak about a contender on a link, as single numbers and as lines for a chart.

Decided here: the names of the laws, which are also those in the record, and what they hold for: windows and their
go-back-N for UDP, Mathis for reno, the link's rate for all. Where a link is not regular (bursts, jitter) or not ours,
laws that need to know its loss say nothing. Under loss a window has two laws, for receivers that throw away what comes
early and for those that keep it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

from blockstep_lab.compare import theory
from blockstep_lab.compare.results import LOCAL, OK, Cell, Contender, LinkSpec, TheoryLine
from blockstep_lab.compare.theory import Situation

__all__ = ["GO_BACK_N", "KEPT", "LINK_RATE", "MATHIS", "WINDOW", "laws_for", "lines_for", "maybe_share"]

LINK_RATE = "link rate"
WINDOW = "window x blksize / RTT"
GO_BACK_N = "go-back-N"
KEPT = "go-back-N, early blocks kept"
MATHIS = "Mathis"

_POINTS = 25
_WINDOWS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_LEAST_LOSS = 0.0005
_LEAST_DELAY_S = 0.0005
# On a shorter path the two processes take longer than the packets, and no law knows about them.
_LEAST_RTT_S = 0.001


def laws_for(contender: Contender, link: LinkSpec, mtu: int = 1500) -> dict[str, float]:
    """Each law that says something here, with the goodput that it predicts."""
    situation = maybe_situation(contender, link, mtu)
    if situation is None:
        return {}
    return {law: value for law, value in _values(contender, link, situation) if value and math.isfinite(value)}


def maybe_share(cell: Cell) -> tuple[str, float] | None:
    """The most particular law that speaks about a cell, and how much of it was reached; None without a number."""
    if cell.state != OK or cell.goodput_bit_s is None:
        return None
    for law in (GO_BACK_N, MATHIS, WINDOW, LINK_RATE):
        if law in cell.theory:
            return law, cell.goodput_bit_s.median / cell.theory[law]
    return None


def maybe_situation(contender: Contender, link: LinkSpec, mtu: int = 1500) -> Situation | None:
    """What theory needs to know; None where it is not known or nothing could be said."""
    if link.id == LOCAL or not link.rtt_s:
        return None
    return Situation(
        rtt_s=link.rtt_s,
        blksize=contender.blksize,
        windowsize=contender.windowsize or 1,
        rate_bit_s=link.rate_bit_s,
        loss=min(link.loss or 0.0, 0.99),
        loss_back=min(link.loss_back or 0.0, 0.99),
        mtu=mtu,
    )


def _values(contender: Contender, link: LinkSpec, situation: Situation) -> Iterator[tuple[str, float | None]]:
    knows_loss = link.loss is not None and link.regular
    if contender.transport == "udp":
        yield LINK_RATE, theory.link_rate(situation)
        if situation.rtt_s < _LEAST_RTT_S:
            return
        yield WINDOW, theory.window_rate(situation)
        if knows_loss:
            yield GO_BACK_N, theory.go_back_n(situation)
            if situation.loss and situation.windowsize > 1:
                yield KEPT, theory.go_back_n_kept(situation)
    elif contender.transport == "tcp":
        if situation.rate_bit_s:
            yield LINK_RATE, theory.tcp_link_rate(situation.rate_bit_s, situation.mtu)
        if knows_loss and contender.congestion == "reno":
            yield MATHIS, theory.mathis(situation)


class _Axis(NamedTuple):
    """Values to go through; everything else is as on the link."""

    name: str
    link: LinkSpec
    values: Sequence[float]


def lines_for(contenders: Sequence[Contender], links: Sequence[LinkSpec], mtu: int = 1500) -> tuple[TheoryLine, ...]:
    """The laws along each axis on which the grid has more than one value."""
    regular = [link for link in links if link.regular and link.id != LOCAL and link.loss is not None]
    lines: list[TheoryLine] = []
    for axis in [*_loss_axes(regular), *_delay_axes(regular)]:
        for contender in contenders:
            if not contender.ceiling:
                lines += _lines(axis, contender, mtu)
    lines += _window_lines(contenders, regular, mtu)
    return _one_link_rate(lines)


def _loss_axes(links: Sequence[LinkSpec]) -> Iterator[_Axis]:
    for group in _groups(links, lambda link: (link.delay_s, link.rate_bit_s)):
        losses = [link.loss for link in group if link.loss]
        if len(group) > 1 and losses:
            yield _Axis("loss", group[0], _spaced(min(_LEAST_LOSS, *losses), max(losses) * 1.5))


def _delay_axes(links: Sequence[LinkSpec]) -> Iterator[_Axis]:
    for group in _groups(links, lambda link: (link.loss, link.rate_bit_s)):
        delays = [link.delay_s for link in group if link.delay_s]
        if len(group) > 1 and delays:
            yield _Axis("delay", group[0], _spaced(max(min(delays) / 2, _LEAST_DELAY_S), max(delays) * 2))


def _window_lines(contenders: Sequence[Contender], links: Sequence[LinkSpec], mtu: int) -> Iterator[TheoryLine]:
    """One line for each block size, under the name of its first contender."""
    udp = [each for each in contenders if each.transport == "udp" and not each.ceiling]
    first_of = {each.blksize: each for each in reversed(udp)}
    for link in links:
        for contender in first_of.values():
            if sum(each.blksize == contender.blksize for each in udp) > 1:
                yield from _lines(_Axis("windowsize", link, _WINDOWS), contender, mtu)


def _lines(axis: _Axis, contender: Contender, mtu: int) -> Iterator[TheoryLine]:
    found: dict[str, list[tuple[float, float]]] = {}
    for value in axis.values:
        moved, there = _moved(axis, value, contender)
        for law, goodput in laws_for(moved, there, mtu).items():
            found.setdefault(law, []).append((float(value), goodput))
    what = f"UDP, {contender.blksize} byte blocks" if axis.name == "windowsize" else contender.label
    for law, points in found.items():
        general = law == LINK_RATE
        yield TheoryLine(
            law=law,
            label=law if general else f"{law}: {what}",
            axis=axis.name,
            contender=None if general else contender.id,
            link=axis.link.id,
            x=tuple(x for x, _ in points),
            goodput_bit_s=tuple(y for _, y in points),
        )


def _moved(axis: _Axis, value: float, contender: Contender) -> tuple[Contender, LinkSpec]:
    if axis.name == "loss":
        return contender, replace(axis.link, loss=value, loss_back=value)
    if axis.name == "delay":
        return contender, replace(axis.link, delay_s=value, rtt_s=2 * value)
    return replace(contender, windowsize=int(value)), axis.link


def _one_link_rate(lines: Sequence[TheoryLine]) -> tuple[TheoryLine, ...]:
    """The link's rate is nearly the same for all: one line of it for each chart."""
    kept: dict[object, TheoryLine] = {}
    for line in lines:
        key = (line.axis, line.link, line.law) if line.contender is None else len(kept)
        kept.setdefault(key, line)
    return tuple(kept.values())


def _groups(links: Sequence[LinkSpec], key: Callable[[LinkSpec], object]) -> Iterator[list[LinkSpec]]:
    groups: dict[object, list[LinkSpec]] = {}
    for link in links:
        groups.setdefault(key(link), []).append(link)
    yield from groups.values()


def _spaced(low: float, high: float) -> list[float]:
    """From `low` to `high`, evenly on a logarithmic axis."""
    return [low * (high / low) ** (step / (_POINTS - 1)) for step in range(_POINTS)]
