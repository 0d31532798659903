"""The report: one HTML document that needs nothing else.

Decided here: its order (what was found, charts, runs against time, all numbers, how it was measured, the record), that
the record is embedded whole, and that nothing else may run or load: the policy in its head names the scripts by their
digests and forbids every connection. Not known here: what any of its parts says.
"""

from __future__ import annotations

import json
from importlib.resources import files

from blockstep_lab.compare.palette import to_css
from blockstep_lab.compare.report.cells import cell_table
from blockstep_lab.compare.report.drawings import Drawings
from blockstep_lab.compare.report.markup import Html, element, join, script_hash, script_json, trusted
from blockstep_lab.compare.report.method import method_list, place_of, repeat_command
from blockstep_lab.compare.results import CompareResult, Finding

__all__ = ["to_html"]

_FINDINGS = (
    (("udp", "tcp", "even"), "Who is ahead"),
    (("theory",), "What theory says to it"),
    (("caution",), "What to beware of"),
)
_AHEAD = {"udp": "UDP", "tcp": "TCP", "even": "level"}


def to_html(record: CompareResult, library: str) -> str:
    """The whole document. `library` is plotly's JavaScript."""
    drawings = Drawings(record)
    charts, courses = drawings.charts(), drawings.courses()
    figures = json.dumps(drawings.figures, ensure_ascii=True, allow_nan=False)
    scripts = (_closed(library), _closed(_part("page.js")))
    title = f"UDP against TCP: {record.method.file_name}"
    body = element(
        "body",
        element("header", element("h1", "UDP against TCP"), element("p", _subject(record), class_="subject")),
        element(
            "main",
            element("p", record.summary or "Nothing is measured yet.", class_="summary"),
            *_unfinished(record),
            _section("Findings", "findings", _findings(record)),
            _section("Goodput", "goodput", _noscript(), _CHARTS, charts),
            _section("Runs against time", "runs", _COURSES, courses),
            _section("All numbers", "numbers", _scrolling(cell_table(record))),
            _section(
                "Method", "method", method_list(record), element("h3", "To repeat it"), repeat_command(record.method)
            ),
            _section("The record", "raw", _download()),
        ),
        _data("figures", figures),
        _data("record", record.to_json()),
        *(element("script", trusted(script)) for script in scripts),
    )
    return "<!doctype html>\n" + element("html", _head(title, scripts), body, lang="en") + "\n"


def _head(title: str, scripts: tuple[str, ...]) -> Html:
    allowed = " ".join(script_hash(script) for script in scripts)
    policy = (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data: blob:; base-uri 'none'"
    )
    return element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=policy),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("meta", name="generator", content="blockstep compare"),
        element("title", title),
        element("style", trusted(to_css() + _part("page.css"))),
    )


def _subject(record: CompareResult) -> str:
    method = record.method
    done = method.started_at.partition("T")[0]
    return f"{method.file_name}, {method.file_bytes:,} bytes, over {place_of(method)}. {done}."


def _unfinished(record: CompareResult) -> tuple[Html, ...]:
    if record.complete:
        return ()
    told = f"Unfinished: {len(record.runs):,} of {record.planned_runs:,} runs are done."
    return (element("p", element("strong", told), class_="unfinished"),)


def _section(heading: str, section_id: str, *children: str) -> Html:
    return element(
        "section", element("h2", heading, id=section_id), *children, aria_labelledby=section_id, class_=section_id
    )


def _findings(record: CompareResult) -> Html:
    parts = []
    for kinds, heading in _FINDINGS:
        found = [each for each in record.findings if each.kind in kinds]
        if found:
            parts += [element("h3", heading), element("ul", *map(_finding, found), class_=kinds[-1])]
    return join(*parts) if parts else element("p", "The numbers allow none.")


def _finding(finding: Finding) -> Html:
    ahead = _AHEAD.get(finding.kind)
    badge = [element("span", ahead, class_=f"badge {finding.kind}"), " "] if ahead else []
    return element("li", *badge, finding.text)


_CHARTS = element(
    "p",
    "All axes are logarithmic. Marks are medians, bars their 95 % bootstrap intervals. Dotted lines are what theory "
    "says, in the colour of whom it speaks of, shaded up to the law for receivers that keep early blocks; grey is the "
    "rate of the link. Cells without a valid number are not drawn. Check boxes hide and show.",
)
_COURSES = element(
    "p",
    "One run of each contender, on the first link without loss and the first with it. Each has a time axis of its own, "
    "for the slowest would hide all others. A cross is where blocks or segments were sent again.",
)


def _noscript() -> Html:
    return element("noscript", element("p", "The charts need JavaScript; all their numbers are in the table below."))


def _scrolling(table: Html) -> Html:
    """Reachable by keyboard, so that it can be scrolled by keyboard."""
    return element("div", table, class_="scroll", tabindex=0, role="region", aria_labelledby="numbers")


def _download() -> Html:
    return element(
        "p",
        element("button", "Download the record as JSON", type="button", id="download"),
        " Every run of every cell, and all that is said above; ",
        element("code", "blockstep compare --from FILE"),
        " makes the table, this page and charts of it again.",
    )


def _data(data_id: str, json_text: str) -> Html:
    return element("script", script_json(json_text), type="application/json", id=data_id)


def _closed(script: str) -> str:
    """A script whose text does not end its element."""
    return script.replace("</script", r"<\/script")


def _part(name: str) -> str:
    return files("blockstep_lab.compare.report").joinpath(name).read_text(encoding="utf-8")
