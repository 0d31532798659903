"""The report as Chromium shows it: drawn, quiet, alone, readable in every width and light, and true to its record."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from blockstep_lab.compare.html_report import write
from blockstep_lab.compare.palette import DARK, LIGHT
from blockstep_lab.compare.results import CompareResult
from support.browser import Browser, chromium
from support.reports import nasty, sample

pytestmark = [pytest.mark.peers("chromium", "chromedriver"), pytest.mark.slow]

DRAWN = """[...document.querySelectorAll('.plot')].every(
    (place) => place.closest('details:not([open])') || place.querySelector('.main-svg'))"""
PLOTS = """
    return [...document.querySelectorAll('.plot')].filter((place) => place.querySelector('.main-svg')).map((place) => ({
        name: place.dataset.figure,
        lines: [...place.querySelectorAll('.scatterlayer .js-line')].filter((path) => path.getAttribute('d')).length,
        marks: place.querySelectorAll('.scatterlayer .point').length,
        bars: place.querySelectorAll('.scatterlayer .errorbar').length,
        traces: place.querySelectorAll('.scatterlayer .trace').length,
    }));"""

OUTSIDE = """[...document.querySelectorAll('figure, .plot .main-svg, li, dd, pre, h1, h2, h3, p')].filter(
    (each) => each.getBoundingClientRect().right > innerWidth + 0.5)"""


class Site:
    """A browser and the pages that it opens."""

    def __init__(self, browser: Browser, folder: Path) -> None:
        self.folder = folder
        self._browser = browser
        self._untouched = ""

    def open(self, name: str = "sample.html", *, width: int = 1280, dark: bool = False) -> Browser:
        """Anew, to do something to it."""
        self._browser.open(self.folder / name, width=width, dark=dark, until=DRAWN)
        self._untouched = ""
        return self._browser

    def show(self, name: str = "sample.html") -> Browser:
        """Only to look: whoever looks next need not load it again."""
        if self._untouched != name:
            self.open(name)
            self._untouched = name
        return self._browser


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("pages")
    write(sample(), folder / "sample.html")
    write(nasty(), folder / "nasty.html")
    with chromium(folder) as browser:
        yield Site(browser, folder)


def embedded(browser: Browser) -> dict[str, Any]:
    figures: dict[str, Any] = browser.js("return JSON.parse(document.getElementById('figures').textContent)")
    return figures


@pytest.mark.parametrize("name", ["nasty.html", "sample.html"])
def test_all_is_drawn_without_a_word_a_request_or_markup_from_the_record(site: Site, name: str) -> None:
    browser = site.show(name)
    figures = embedded(browser)
    plots = browser.js(PLOTS)
    assert len(plots) == len(figures) - 3  # three are folded
    for plot in plots:
        traces = [trace for trace in figures[plot["name"]]["data"] if trace["x"]]
        points = sum(len(trace["x"]) for trace in traces if "markers" in trace["mode"])
        lines = [trace for trace in traces if "lines" in trace["mode"]]
        assert plot["traces"] == len(figures[plot["name"]]["data"])
        assert plot["marks"] == points
        assert plot["bars"] == sum(len(trace["x"]) for trace in traces if "error_y" in trace)
        assert plot["lines"] == len(lines)
    assert browser.complaints() == []
    assert browser.requests() == [(site.folder / name).as_uri()]
    assert browser.js("return document.querySelectorAll('img').length") == 0
    assert browser.js("return document.title").startswith("UDP against TCP: ")
    assert browser.js("return document.scripts.length") == 4


def test_numbers_in_the_table_are_those_of_the_record(site: Site) -> None:
    browser = site.show()
    rows = browser.js("""
        return [...document.querySelectorAll('table.cells tr[data-contender]')].map((row) => ({
            cell: [row.dataset.contender, row.dataset.link],
            values: Object.fromEntries([...row.querySelectorAll('td[data-field]')].map(
                (td) => [td.dataset.field, [...td.querySelectorAll('data')].map((each) => Number(each.value))])),
        }));""")
    record = json.loads(browser.js("return document.getElementById('record').textContent"))
    assert len(rows) == len(record["cells"])
    for row, cell in zip(rows, record["cells"], strict=True):
        assert row["cell"] == [cell["contender"], cell["link"]]
        if cell["state"] != "ok":
            assert row["values"] == {}
            continue
        goodput = cell["goodput_bit_s"]
        assert row["values"].pop("interval") == [goodput["low"], goodput["high"]]
        shares = [goodput["median"] / value for value in cell["theory"].values()]
        assert set(row["values"].pop("law", shares[:1])) <= set(shares)
        assert row["values"] == {name: [cell[name]["median"]] for name in row["values"]}
        assert "total_s" in row["values"]


def test_the_download_is_the_record(site: Site) -> None:
    browser = site.show()
    browser.js("document.getElementById('download').click()")
    target = site.folder / "downloads" / "blockstep-compare.json"
    browser.until(target.exists)
    assert CompareResult.read(target) == sample()


@pytest.mark.parametrize("name", ["sample.html", "nasty.html"])
def test_the_page_never_scrolls_sideways_and_the_table_does_in_its_box(site: Site, name: str) -> None:
    browser = site.open(name, width=400)
    fits(browser, 400)
    for width in (320, 768, 1280):
        browser.resize(width)
        browser.wait(f"document.querySelector('.plot .main-svg').width.baseVal.value < {width}")
        browser.wait("document.querySelector('.plot .main-svg').width.baseVal.value > 0.35 * innerWidth")
        fits(browser, width)


def fits(browser: Browser, width: int) -> None:
    browser.wait(f"{OUTSIDE}.length === 0")
    assert browser.js("return document.documentElement.scrollWidth") <= width
    inner, outer = browser.js(
        "const box = document.querySelector('.scroll'); return [box.scrollWidth, box.clientWidth]"
    )
    assert outer < width
    assert width > 700 or inner > outer


def luminance(color: str) -> float:
    """Of `rgb(1, 2, 3)`."""
    parts = [float(part) / 255 for part in color[color.index("(") + 1 : -1].split(",")[:3]]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


COLORS = """
    const of = (query, what) => [...document.querySelectorAll(query)].map((each) => getComputedStyle(each)[what]);
    return {
        paper: of('body', 'backgroundColor')[0],
        texts: of('p, li, td, th, dt, dd, figcaption span, .unit, .state, .badge, summary, label', 'color'),
        ticks: of('.plot .xtick text, .plot .ytick text, .plot .annotation-text', 'fill'),
        lines: of('.plot .js-line', 'stroke'),
        plots: of('.plot .main-svg', 'backgroundColor'),
    };"""


def stands_out(colors: dict[str, Any]) -> None:
    assert colors["ticks"]
    assert colors["lines"]
    for text in {*colors["texts"], *colors["ticks"]}:
        assert contrast(text, colors["paper"]) >= 4.5, text
    for line in set(colors["lines"]):
        assert contrast(line, colors["paper"]) >= 3, line


def test_text_and_charts_stand_out_in_both_schemes_and_follow_when_they_change(site: Site) -> None:
    browser = site.open(dark=True)
    dark = browser.js(COLORS)
    stands_out(dark)
    assert dark["paper"] == rgb(DARK["--paper"])
    browser.prefer(dark=False)
    browser.wait(f"document.querySelector('.plot text').style.fill === '{rgb(LIGHT['--ink'])}'")
    light = browser.js(COLORS)
    stands_out(light)
    assert light["paper"] == rgb(LIGHT["--paper"])
    assert len(light["lines"]) == len(dark["lines"])
    assert not set(light["lines"]) & set(dark["lines"])


def rgb(color: str) -> str:
    return f"rgb({', '.join(str(int(color[at : at + 2], 16)) for at in (1, 3, 5))})"


def test_a_key_hides_a_contender_and_brings_it_back(site: Site) -> None:
    browser = site.open()
    toggle = "document.querySelector('.key input[data-contender=tcp-bbr]').click();"
    before = browser.js(PLOTS)[0]
    browser.js(toggle)
    browser.wait("document.querySelectorAll('.plot')[0].querySelectorAll('.trace').length < " + str(before["traces"]))
    hidden, *others = browser.js(PLOTS)
    assert hidden["marks"] == before["marks"] - 3
    browser.js(toggle)
    browser.wait("document.querySelectorAll('.plot')[0].querySelectorAll('.trace').length == " + str(before["traces"]))
    assert browser.js(PLOTS) == [before, *others]


def test_folded_charts_are_drawn_when_they_are_opened(site: Site) -> None:
    browser = site.open()
    browser.js("document.querySelector('details').open = true")
    browser.wait("document.querySelectorAll('details .main-svg').length")
    browser.wait(DRAWN)
    assert len(browser.js(PLOTS)) == len(embedded(browser))


def test_paper_is_white_and_nothing_is_folded_on_it(site: Site) -> None:
    browser = site.open(dark=True)
    browser.js("""
        window.seen = null;
        addEventListener('beforeprint', () => {
            window.seen = [
                getComputedStyle(document.documentElement).getPropertyValue('--paper'),
                document.querySelectorAll('details:not([open])').length,
                [...document.querySelectorAll('.plot')].filter((place) => !place.querySelector('.main-svg')).length,
            ];
        });""")
    assert base64.b64decode(browser.to_pdf()).startswith(b"%PDF-")
    assert browser.js("return window.seen") == [LIGHT["--paper"], 0, 0]
    assert browser.js("return document.documentElement.className") == ""
    assert browser.js("return document.querySelectorAll('details[open]').length") == 0
    assert browser.complaints() == []
