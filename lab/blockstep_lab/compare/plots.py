"""A comparison as PNG files for papers, for `--png`.

Decided here: the charts of the HTML report in the same colours, on white, with their titles and keys in them, as there
is no page around them; the runs against time as panels, one picture for each link. matplotlib draws, without a display;
without the extra `plots` this module cannot be imported. Not known here: what a chart shows.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

from blockstep.protocol.errors import LocalError
from blockstep_lab.compare.axes import Axis
from blockstep_lab.compare.charts import Chart, Law, Level, Point, Series, charts_of
from blockstep_lab.compare.laws import LINK_RATE
from blockstep_lab.compare.palette import LIGHT, Look, looks_of
from blockstep_lab.compare.results import CompareResult, LinkSpec, TimeSequence
from blockstep_lab.compare.wording import time_text

__all__ = ["write_all"]

_DPI = 200
_CHART_INCHES = (6.4, 4.4)
_PANEL_INCHES = (3.2, 2.3)
_PANELS_ACROSS = 3
_MUTED, _GRID, _INK = LIGHT["--muted"], LIGHT["--grid"], LIGHT["--ink"]
_MARKS = {
    "circle": "o",
    "square": "s",
    "diamond": "D",
    "hexagon": "h",
    "triangle-up": "^",
    "triangle-down": "v",
    "star": "*",
    "cross": "P",
}
_STYLES = {"solid": "-", "dash": "--", "dashdot": "-."}
_MEGA = 1e6
_LONGEST_NAME = 120


def write_all(result: CompareResult, directory: Path) -> list[Path]:
    """Writes every chart and gives the paths; the directory is made. LocalError names what cannot be written."""
    looks = looks_of(result.contenders)
    pictures = {chart.id: _chart_figure(chart, looks) for chart in charts_of(result)}
    for link in result.links:
        courses = [each for each in result.sequences if each.link == link.id and each.contender in looks]
        if any(len(each.points) > 1 for each in courses):
            pictures[f"runs-{link.id}"] = _course_figure(result, link, courses, looks=looks)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        return [_saved(figure, directory / f"{_file_name(name)}.png") for name, figure in pictures.items()]
    except OSError as error:
        raise LocalError(f"{error.filename or directory}: {error.strerror}") from error


def _saved(figure: Figure, path: Path) -> Path:
    figure.savefig(path, dpi=_DPI, metadata={"Software": "blockstep compare"})
    return path


def _file_name(name: str) -> str:
    """Ids of links can be whatever somebody typed: no folder, no hidden file, no option."""
    return re.sub(r"[^A-Za-z0-9._%-]+", "-", name)[:_LONGEST_NAME]


def _plain(text: str) -> str:
    """matplotlib would set what stands between dollars as mathematics."""
    return text.replace("$", r"\$")


# Goodput.


def _chart_figure(chart: Chart, looks: Mapping[str, Look]) -> Figure:
    figure = Figure(figsize=_CHART_INCHES, layout="constrained")
    axes = figure.subplots()
    _set_up(axes, chart)
    for law in chart.laws:
        whose = None if chart.axis == "windowsize" or law.contender is None else looks[law.contender]
        _draw_law(axes, law, chart.x, whose)
    for level in chart.levels:
        _draw_level(axes, level, looks[level.contender.id])
    for series in chart.series:
        _draw_series(axes, series, chart.x, looks)
    handles, labels = axes.get_legend_handles_labels()
    if chart.laws:
        handles, labels = [*handles, Line2D([], [], color=_MUTED, linewidth=1, linestyle=":")], [*labels, "theory"]
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False, fontsize="small")
    return figure


def _set_up(axes: Axes, chart: Chart) -> None:
    axes.set_title(f"{chart.title}\n", fontsize="medium", loc="left", color=_INK)
    axes.text(0, 1.02, _plain(chart.where), transform=axes.transAxes, fontsize="small", color=_MUTED)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(chart.x.low, chart.x.high)
    axes.set_ylim(chart.y.low, chart.y.high)
    axes.set_xlabel(chart.x.title)
    axes.set_ylabel(chart.y.title)
    for axis, ticks in ((axes.xaxis, chart.x.ticks), (axes.yaxis, chart.y.ticks)):
        axis.set_major_locator(FixedLocator([at for at, _ in ticks]))
        axis.set_major_formatter(FixedFormatter([text for _, text in ticks]))
        axis.set_minor_locator(NullLocator())
    axes.grid(visible=True, axis="y", color=_GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    if chart.x.break_at is not None:
        axes.axvline(chart.x.break_at, color=_MUTED, linewidth=0.8, linestyle=":")


def _draw_law(axes: Axes, law: Law, x: Axis, look: Look | None) -> None:
    color = _MUTED if look is None else LIGHT[look.color]
    places = [x.place(value) for value in law.x]
    axes.plot(places, law.low, color=color, linewidth=1, linestyle=":")
    if law.high is not None:
        axes.fill_between(places, law.low, law.high, color=color, alpha=0.15, linewidth=0)
    if law.label == LINK_RATE:
        axes.annotate(law.label, (x.high, law.low[-1]), xytext=(0, 2), textcoords="offset points", ha="right",
            fontsize="x-small", color=_MUTED)  # fmt: skip


def _draw_level(axes: Axes, level: Level, look: Look) -> None:
    axes.axhline(
        level.goodput.median,
        color=LIGHT[look.color],
        linewidth=1.3,
        linestyle="--",
        label=_plain(level.contender.label),
    )


def _draw_series(axes: Axes, series: Series, x: Axis, looks: Mapping[str, Look]) -> None:
    places = [x.place(point.x) for point in series.points]
    look = None if series.contender is None else looks[series.contender.id]
    color, style = (_MUTED, "-") if look is None else (LIGHT[look.color], _STYLES[look.dash])
    medians = [point.goodput.median for point in series.points]
    axes.plot(places, medians, color=color, linewidth=1.3, linestyle=style, zorder=2)
    named: set[str] = set()
    for place, point in zip(places, series.points, strict=True):
        label = None if point.contender.id in named else _plain(point.contender.label)
        named.add(point.contender.id)
        _draw_point(axes, place, point, look=looks[point.contender.id], label=label)


def _draw_point(axes: Axes, place: float, point: Point, *, look: Look, label: str | None) -> None:
    goodput, color = point.goodput, LIGHT[look.color]
    axes.errorbar(
        [place],
        [goodput.median],
        yerr=[[goodput.median - goodput.low], [goodput.high - goodput.median]],
        color=color,
        marker=_MARKS[look.mark],
        markersize=5.5,
        markerfacecolor="white" if look.hollow or point.stopped else color,
        linestyle="none",
        elinewidth=1.2,
        capsize=3,
        label=label,
        zorder=3,
    )


# Runs against time.


def _course_figure(
    record: CompareResult, link: LinkSpec, courses: Sequence[TimeSequence], *, looks: Mapping[str, Look]
) -> Figure:
    across = min(_PANELS_ACROSS, len(courses))
    rows = -(-len(courses) // across)
    width, height = _PANEL_INCHES
    figure = Figure(figsize=(width * across, height * rows + 0.5), layout="constrained")
    panels = figure.subplots(rows, across, squeeze=False)
    for place, axes in enumerate(panels.flat):
        if place < len(courses):
            _draw_course(axes, record, courses[place], looks[courses[place].contender])
        else:
            axes.set_visible(False)
    figure.suptitle(_plain(f"One run of each: {link.label}. Crosses: sent again"), fontsize="medium", x=0.01, ha="left")
    return figure


def _draw_course(axes: Axes, record: CompareResult, course: TimeSequence, look: Look) -> None:
    contender = record.contender(course.contender)
    axes.plot(
        [at for at, _ in course.points],
        [offset / _MEGA for _, offset in course.points],
        color=LIGHT[look.color],
        linewidth=1.3,
    )
    axes.plot(
        [at for at, _ in course.resends],
        [offset / _MEGA for _, offset in course.resends],
        color=_INK,
        marker="x",
        markersize=4,
        markeredgewidth=0.9,
        linestyle="none",
    )
    lasted = time_text(course.points[-1][0]) if course.points else "nothing arrived"
    axes.set_title(
        _plain(f"{contender.label}: {lasted}, {course.resends_total:,} resent"),
        fontsize="small",
        loc="left",
        color=_INK,
    )
    axes.set_xlim(left=0)
    axes.set_ylim(0, max(record.method.file_bytes, 1) / _MEGA * 1.03)
    axes.set_xlabel("seconds since the request", fontsize="small")
    axes.set_ylabel("MB of the file", fontsize="small")
    axes.tick_params(labelsize="small")
    axes.grid(visible=True, color=_GRID, linewidth=0.8)
    axes.spines[["top", "right"]].set_visible(False)
