"""The charts' places in the page: headings, captions, keys, and a sentence where there is nothing to draw.

Decided here: the first few charts of an axis are open and the rest are folded, so that a large grid stays readable; a
key is a list of check boxes beside its chart and never lies over it; the same figures go by id into `figures`, which
page.js draws. Not known here: what a figure looks like.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from blockstep_lab.compare.charts import AXES, Chart, charts_of, why_none
from blockstep_lab.compare.palette import Look, looks_of
from blockstep_lab.compare.report.figures import Figure, chart_figure, course_figure
from blockstep_lab.compare.report.markup import Html, element, join, trusted
from blockstep_lab.compare.results import CompareResult, Contender, TimeSequence
from blockstep_lab.compare.wording import time_text

__all__ = ["Drawings"]

_OPEN_CHARTS, _OPEN_COURSES = 4, 8
_MARKS = {
    "circle": "M0-4a4 4 0 1 0 .01 0z",
    "square": "M-4-4h8v8h-8z",
    "diamond": "M0-5l5 5-5 5-5-5z",
    "hexagon": "M-4-2.5l4-2.3 4 2.3v5l-4 2.3-4-2.3z",
    "triangle-up": "M0-5l5 8.5h-10z",
    "triangle-down": "M0 5l5-8.5h-10z",
    "star": "M0-5.5l1.5 3.5 3.8.3-2.9 2.5.9 3.7-3.3-2-3.3 2 .9-3.7-2.9-2.5 3.8-.3z",
    "cross": "M-1.7-5h3.4v3.3h3.3v3.4h-3.3v3.3h-3.4v-3.3h-3.3v-3.4h3.3z",
}


class Drawings:
    """All that is drawn of a comparison. `figures` fill up while the sections are made."""

    def __init__(self, record: CompareResult) -> None:
        self._record = record
        self._looks = looks_of(record.contenders)
        self.figures: dict[str, Figure] = {}

    def charts(self) -> Html:
        """The section of goodputs."""
        charts = charts_of(self._record)
        parts = []
        for axis in AXES:
            found = [chart for chart in charts if chart.axis == axis]
            parts.append(element("h3", f"Against {axis}", id=f"against-{axis}"))
            if not found:
                parts.append(element("p", why_none(self._record, axis), class_="none"))
            parts.append(
                _unfolded(
                    [self._chart(chart) for chart in found], class_="charts", more="more charts", open_=_OPEN_CHARTS
                )
            )
        return join(*parts)

    def courses(self) -> Html:
        """One run of each contender against time, by link."""
        record, parts = self._record, []
        for link in record.links:
            found = [each for each in record.sequences if each.link == link.id and len(each.points) > 1]
            found = [each for each in found if each.contender in self._looks]
            if found:
                parts.append(element("h3", link.label[:1].upper() + link.label[1:]))
                parts.append(
                    _unfolded(
                        [self._course(each) for each in found], class_="courses", more="more runs", open_=_OPEN_COURSES
                    )
                )
        if not parts:
            return element("p", "No run was followed closely enough to be drawn against time.", class_="none")
        return join(*parts)

    def _chart(self, chart: Chart) -> Html:
        self.figures[chart.id] = chart_figure(chart, self._looks)
        caption = element(
            "figcaption", element("strong", chart.title), ". ", chart.where, ". ", element("span", _reading(chart))
        )
        return element("figure", caption, self._key(chart), _place(chart.id, f"{chart.title}. {chart.where}."))

    def _course(self, sequence: TimeSequence) -> Html:
        contender = self._record.contender(sequence.contender)
        figure_id = f"course-{sequence.contender}-{sequence.link}"
        look, size = self._looks[contender.id], self._record.method.file_bytes
        self.figures[figure_id] = course_figure(sequence, contender, look, size)
        again = f"{sequence.resends_total:,} sent again" if sequence.resends_total else "nothing sent again"
        told = f"{time_text(sequence.points[-1][0])}, {again}"
        if sequence.resends_total > len(sequence.resends):
            told += f", from {len(sequence.resends):,} places"
        caption = element("figcaption", _swatch(look), " ", element("strong", contender.label), f": {told}.")
        return element("figure", caption, _place(figure_id, f"{contender.label} against time: {told}."))

    def _key(self, chart: Chart) -> Html:
        drawn = [point.contender for series in chart.series for point in series.points]
        drawn += [level.contender for level in chart.levels]
        entries = (_entry(each, self._looks) for each in dict.fromkeys(drawn))
        return element("ul", *entries, class_="key", aria_label="Shown in this chart")


def _unfolded(figures: Sequence[Html], *, class_: str, more: str, open_: int) -> Html:
    """The first few, and a fold with the rest. None left over: no fold for a single one."""
    if not figures:
        return trusted("")
    first = figures if len(figures) <= open_ + 1 else figures[:open_]
    rest = figures[len(first) :]
    shown = element("div", *first, class_=class_)
    if not rest:
        return shown
    return join(
        shown,
        element("details", element("summary", f"{len(rest)} {more}"), element("div", *rest, class_=class_)),
    )


def _place(figure_id: str, label: str) -> Html:
    return element("div", class_="plot", data_figure=figure_id, role="img", aria_label=label)


def _entry(contender: Contender, looks: Mapping[str, Look]) -> Html:
    box = element("input", type="checkbox", checked=True, data_contender=contender.id)
    return element("li", element("label", box, _swatch(looks[contender.id]), contender.label))


def _swatch(look: Look) -> Html:
    """The mark in its colour; the path is ours, the colour's name too."""
    fill = "none" if look.hollow else f"var({look.color})"
    path = element("path", d=_MARKS[look.mark], style=f"fill:{fill};stroke:var({look.color})")
    return element("svg", path, class_="swatch", viewBox="-7 -7 14 14", aria_hidden="true")


def _reading(chart: Chart) -> str:
    """What is particular to this chart."""
    points = [point for series in chart.series for point in series.points]
    told = {
        "TCP has no such window: its medians are dashed lines.": bool(chart.levels),
        "0 stands left of the break.": chart.x.zero_at is not None,
        "Hollow marks were stopped by --max-time; their goodput is of what had arrived.": any(
            point.stopped for point in points
        ),
        "Hollow marks of simulated contenders are on virtual time.": any(point.contender.simulated for point in points),
    }
    return " ".join(sentence for sentence, holds in told.items() if holds)
