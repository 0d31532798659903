from __future__ import annotations

import json
from dataclasses import replace

from blockstep_lab.compare.report.markup import script_hash
from blockstep_lab.compare.report.page import to_html
from blockstep_lab.compare.results import CompareResult
from support.compared import grid, link, record
from support.reports import NASTY, Page, nasty, sample

LIBRARY = "window.Plotly = '</script>';"


def test_the_record_in_the_page_is_the_record() -> None:
    for result in (sample(), nasty()):
        page = Page(to_html(result, LIBRARY))
        assert CompareResult.from_json(page.data["record"]) == result
        assert page.data["record"].isascii()


def test_the_library_is_there_once_and_cannot_end_its_element() -> None:
    html = to_html(sample(), LIBRARY)
    assert html.count("window.Plotly") == 1
    assert r"'<\/script>'" in html


def test_nothing_can_be_loaded_and_only_our_scripts_may_run() -> None:
    for result in (sample(), nasty()):
        page = Page(to_html(result, LIBRARY))
        kinds = [has.get("type") for tag, has in page.tags if tag == "script"]
        assert kinds == ["application/json", "application/json", None, None]
        (policy,) = page.all("meta", **{"http-equiv": "Content-Security-Policy"})
        assert str(policy["content"]).startswith("default-src 'none'; script-src 'sha256-")
        assert script_hash(r"window.Plotly = '<\/script>';") in str(policy["content"])
        for _tag, has in page.tags:
            assert not {"src", "href", "onclick", "onerror"} & set(has)


def test_what_a_reader_looks_for_has_its_heading_and_its_order() -> None:
    page = Page(to_html(sample(), LIBRARY))
    headings = [has["id"] for tag, has in page.tags if tag == "h2"]
    assert headings == ["findings", "goodput", "runs", "numbers", "method", "raw"]
    assert len(page.all("h1")) == len(page.all("main")) == len(page.all("table")) == 1
    assert page.all("html", lang="en")
    for finding in sample().findings:
        assert finding.text in page.shown
    assert sample().summary in page.shown


def test_every_text_is_text() -> None:
    html = to_html(nasty(), LIBRARY)
    assert "<img" not in html
    assert html.count("<script") == 4
    assert Page(html).shown.count(NASTY) > 50


def test_what_is_unfinished_or_empty_says_so() -> None:
    result = replace(sample(), complete=False, planned_runs=200)
    assert "Unfinished: 135 of 200 runs are done." in Page(to_html(result, LIBRARY)).shown
    empty = replace(record(grid(["udp-w16-b1428"], [link()]), {}), summary="", findings=())
    shown = Page(to_html(empty, LIBRARY)).shown
    assert "Nothing is measured yet." in shown
    assert "The numbers allow none." in shown


def test_figures_are_embedded_for_every_place() -> None:
    page = Page(to_html(sample(), LIBRARY))
    assert list(page.json("figures")) == [each["data-figure"] for each in page.all("div", **{"class": "plot"})]
    assert "NaN" not in json.dumps(page.json("figures"))
