from __future__ import annotations

from dataclasses import replace

from blockstep_lab.compare.report.drawings import Drawings
from support.compared import grid, link, record
from support.reports import NASTY, Page, nasty, sample

UDP, CUBIC = "udp-w16-b1428", "tcp-cubic"


def test_every_place_has_its_figure_a_caption_and_a_name() -> None:
    drawings = Drawings(sample())
    page = Page(drawings.charts() + drawings.courses())
    places = page.all("div", **{"class": "plot"})
    assert [each["data-figure"] for each in places] == list(drawings.figures)
    assert all(each["aria-label"] for each in places)
    assert len(page.all("figcaption")) == len(page.all("figure")) == len(places) == 12 + 6


def test_many_charts_of_one_kind_are_folded() -> None:
    page = Page(Drawings(sample()).charts())
    assert len(page.all("details")) == 1
    assert "3 more charts" in page.shown


def test_keys_name_who_is_in_the_chart() -> None:
    where = [link(0.0), link(1.0)]
    goodputs = {(UDP, each.id): 12e6 for each in where} | {(CUBIC, where[0].id): 4e7}
    page = Page(Drawings(record(grid([UDP, CUBIC], where), goodputs)).charts())
    assert [each["data-contender"] for each in page.all("input")] == [UDP, CUBIC]
    assert len(page.all("svg", **{"aria-hidden": "true"})) == 2


def test_captions_tell_only_of_what_is_in_the_chart() -> None:
    where = [link(0.5), link(1.0)]
    goodputs = {(UDP, each.id): 12e6 for each in where}
    plain = Page(Drawings(record(grid([UDP], where), goodputs)).charts()).shown
    for words in ("Hollow", "break", "no such window"):
        assert words not in plain
    stopped = record(grid([UDP], where), goodputs, state="max-time")
    assert "Hollow marks were stopped by --max-time" in Page(Drawings(stopped).charts()).shown
    assert "0 stands left of the break" in Page(Drawings(sample()).charts()).shown


def test_what_cannot_be_drawn_is_said() -> None:
    drawings = Drawings(replace(record(grid([UDP], [link()]), {}), sequences=()))
    shown = Page(drawings.charts() + drawings.courses()).shown
    for axis in ("loss", "delay", "windowsize"):
        assert f"No chart of goodput against {axis}" in shown
    assert "No run was followed" in shown
    assert drawings.figures == {}


def test_what_was_sent_again_is_counted_in_words() -> None:
    result = sample()
    sequences = (
        replace(result.sequences[0], resends_total=0, resends=()),
        replace(result.sequences[1], resends_total=99),
    )
    shown = Page(Drawings(replace(result, sequences=sequences)).courses()).shown
    assert "nothing sent again." in shown
    assert "99 sent again, from 5 places." in shown


def test_labels_are_text() -> None:
    drawings = Drawings(nasty())
    markup = drawings.charts() + drawings.courses()
    assert "<script" not in markup
    assert "<img" not in markup
    assert NASTY in Page(markup).shown
