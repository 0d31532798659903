"""Charts and courses as plotly's figures: plain dictionaries, which need no plotly.

Decided here: colours are names of CSS custom properties, which the page puts in when it draws and again when the
scheme changes (page.js); every trace tells in `meta` whose it is, so that its key can hide it; hollow marks are
simulated or stopped. Text is escaped, as plotly reads some HTML in it. Not known here: where a figure stands.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

from blockstep_lab.compare.axes import Axis
from blockstep_lab.compare.charts import Chart, Law, Level, Point, Series
from blockstep_lab.compare.laws import LINK_RATE
from blockstep_lab.compare.palette import WASH, Look
from blockstep_lab.compare.results import Contender, TimeSequence
from blockstep_lab.compare.wording import rate_text, time_text

__all__ = ["Figure", "chart_figure", "course_figure"]

Figure = dict[str, Any]
"""`data` and `layout`, as plotly's `newPlot` takes them."""

_HEIGHT, _COURSE_HEIGHT = 360, 230
_MEGA = 1e6


def chart_figure(chart: Chart, looks: Mapping[str, Look]) -> Figure:
    """Laws below, measurements above."""
    neutral = chart.axis == "windowsize"
    data: list[Figure] = []
    for law in chart.laws:
        data += _law_traces(law, chart.x, None if neutral or law.contender is None else looks[law.contender])
    data += [_level_trace(level, chart.x, looks[level.contender.id]) for level in chart.levels]
    for series in chart.series:
        data += _series_traces(series, chart.x, looks)
    layout = _layout(_HEIGHT)
    layout["xaxis"] = _log_axis(chart.x, grid=False)
    layout["yaxis"] = _log_axis(chart.y, grid=True)
    layout["annotations"] = [_rate_label(law, chart.y) for law in chart.laws if law.label == LINK_RATE]
    if chart.x.break_at is not None:
        layout["shapes"] = [_break(chart.x.break_at)]
    return {"data": data, "layout": layout}


def course_figure(sequence: TimeSequence, contender: Contender, look: Look, file_bytes: int) -> Figure:
    """One run: megabytes of the file against seconds, what was sent again as crosses."""
    curve = {
        **_trace(contender.id, [at for at, _ in sequence.points], [offset / _MEGA for _, offset in sequence.points]),
        "mode": "lines",
        "line": {"color": look.color, "width": 2},
        "text": [_moment(at, offset, contender) for at, offset in sequence.points],
    }
    resends = {
        **_trace(contender.id, [at for at, _ in sequence.resends], [offset / _MEGA for _, offset in sequence.resends]),
        "mode": "markers",
        "marker": {"symbol": "x-thin", "size": 8, "line": {"color": "--ink", "width": 1.5}},
        "text": [f"sent again: {_moment(at, offset, contender)}" for at, offset in sequence.resends],
    }
    layout = _layout(_COURSE_HEIGHT)
    last = max((at for at, _ in (*sequence.points, *sequence.resends)), default=1.0)
    layout["xaxis"] = _linear_axis("seconds since the request", max(last, 1e-6))
    layout["yaxis"] = _linear_axis("MB of the file", max(file_bytes, 1) / _MEGA)
    return {"data": [curve, resends], "layout": layout}


# Traces.


def _trace(whose: str, x: Sequence[float], y: Sequence[float]) -> Figure:
    return {"type": "scatter", "meta": whose, "x": list(x), "y": list(y), "hoverinfo": "text", "showlegend": False}


def _series_traces(series: Series, x: Axis, looks: Mapping[str, Look]) -> Iterator[Figure]:
    """A line where it is one contender's; where each point is another's, each is a trace that its key can hide."""
    if series.contender is not None:
        yield _points(series.contender.id, series.points, x, looks, joined=True)
        return
    x_of, y_of = [x.place(point.x) for point in series.points], [point.goodput.median for point in series.points]
    yield {**_trace("", x_of, y_of), "mode": "lines", "line": {"color": "--muted", "width": 1.2}, "hoverinfo": "skip"}
    for point in series.points:
        yield _points(point.contender.id, [point], x, looks, joined=False)


def _points(whose: str, points: Sequence[Point], x: Axis, looks: Mapping[str, Look], *, joined: bool) -> Figure:
    look = looks[points[0].contender.id]
    goodputs = [point.goodput for point in points]
    return {
        **_trace(whose, [x.place(point.x) for point in points], [each.median for each in goodputs]),
        "mode": "lines+markers" if joined else "markers",
        "line": {"color": look.color, "width": 1.8, "dash": look.dash},
        "marker": {
            "symbol": [_symbol(look, point) for point in points],
            "size": 9,
            "color": look.color,
            "line": {"color": look.color, "width": 1.5},
        },
        "error_y": {
            "type": "data",
            "symmetric": False,
            "array": [each.high - each.median for each in goodputs],
            "arrayminus": [each.median - each.low for each in goodputs],
            "color": look.color,
            "thickness": 1.5,
            "width": 4,
        },
        "text": [_point_text(point) for point in points],
    }


def _symbol(look: Look, point: Point) -> str:
    return f"{look.mark}-open" if look.hollow or point.stopped else look.mark


def _level_trace(level: Level, x: Axis, look: Look) -> Figure:
    goodput = level.goodput
    told = f"{escape(level.contender.label)}: {rate_text(goodput.median * _MEGA)}, whatever UDP's window"
    return {
        **_trace(level.contender.id, _between(x), [goodput.median] * len(_between(x))),
        "mode": "lines",
        "line": {"color": look.color, "width": 1.8, "dash": "longdash"},
        "text": [told] * len(_between(x)),
    }


def _between(x: Axis) -> list[float]:
    """Enough places along an axis for a hand to find the line."""
    steps = 12
    return [x.low * (x.high / x.low) ** (step / steps) for step in range(steps + 1)]


def _law_traces(law: Law, x: Axis, look: Look | None) -> Iterator[Figure]:
    color = look.color if look is not None else "--muted"
    line = {"color": color, "width": 1.2, "dash": "dot"}
    if law.high is not None:
        wash = f"{color}{WASH}" if look is not None else "--grid"
        upper = {"mode": "lines", "line": {"color": color, "width": 0}, "hoverinfo": "skip"}
        yield {**_trace(law.contender or "", law.x, law.high), **upper}
        filled = {"fill": "tonexty", "fillcolor": wash}
    else:
        filled = {}
    yield {
        **_trace(law.contender or "", [x.place(value) for value in law.x], law.low),
        "mode": "lines",
        "line": line,
        "text": [f"{escape(law.label)}: {rate_text(value * _MEGA)}" for value in law.low],
        **filled,
    }


# Words.


def _point_text(point: Point) -> str:
    goodput = point.goodput
    low, high = rate_text(goodput.low * _MEGA), rate_text(goodput.high * _MEGA)
    stopped = "<br>stopped by --max-time: of what had arrived" if point.stopped else ""
    name = escape(point.contender.label)
    return f"<b>{name}</b><br>{rate_text(goodput.median * _MEGA)}<br>95 % interval {low} to {high}{stopped}"


def _moment(at_s: float, offset_bytes: int, contender: Contender) -> str:
    block = f", block {-(-offset_bytes // contender.blksize):,}" if contender.transport == "udp" else ""
    return f"{time_text(at_s)}: {offset_bytes:,} bytes{block}"


# Layout.


def _layout(height: int) -> Figure:
    return {
        "height": height,
        "autosize": True,
        "margin": {"l": 56, "r": 14, "t": 26, "b": 46},
        "paper_bgcolor": "--paper",
        "plot_bgcolor": "--paper",
        "font": {"family": "system-ui, sans-serif", "size": 12, "color": "--ink"},
        "hovermode": "closest",
        "hoverlabel": {"bgcolor": "--panel", "bordercolor": "--muted", "font": {"color": "--ink"}, "align": "left"},
        "showlegend": False,
        "uirevision": "kept",
        "modebar": {"bgcolor": "--paper", "color": "--muted", "activecolor": "--ink"},
    }


def _log_axis(axis: Axis, *, grid: bool) -> Figure:
    return {
        **_axis(axis.title, grid=grid),
        "type": "log",
        "range": [math.log10(axis.low), math.log10(axis.high)],
        "tickmode": "array",
        "tickvals": [at for at, _ in axis.ticks],
        "ticktext": [escape(text) for _, text in axis.ticks],
        "minor": {"ticks": ""},
    }


def _linear_axis(title: str, last: float) -> Figure:
    return {**_axis(title, grid=True), "type": "linear", "range": [0, last * 1.03], "nticks": 6, "rangemode": "tozero"}


def _axis(title: str, *, grid: bool) -> Figure:
    return {
        "title": {"text": title, "standoff": 8},
        "showgrid": grid,
        "gridcolor": "--grid",
        "zeroline": False,
        "showline": True,
        "linecolor": "--muted",
        "ticks": "outside",
        "tickcolor": "--muted",
        "ticklen": 4,
        "automargin": True,
    }


def _rate_label(law: Law, y: Axis) -> Figure:
    """Beside its line, at the right end. Places on logarithmic axes are exponents here."""
    at = min(law.low[-1], y.high)
    words = {"text": law.label, "showarrow": False, "font": {"size": 11, "color": "--muted"}}
    return {**words, "xref": "paper", "x": 1, "xanchor": "right", "y": math.log10(at), "yanchor": "bottom"}


def _break(at: float) -> Figure:
    line = {"color": "--muted", "width": 1, "dash": "dot"}
    return {"type": "line", "xref": "x", "yref": "paper", "x0": at, "x1": at, "y0": 0, "y1": 1, "line": line}
