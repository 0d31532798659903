"""Comparisons with text that would break a page which takes it for markup, and a reader of what became of it."""

from __future__ import annotations

import json
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from blockstep_lab.compare.results import CompareResult

__all__ = ["NASTY", "SAMPLE", "Page", "nasty", "sample"]

SAMPLE = Path(__file__).parents[1] / "lab" / "compare" / "sample.json"
NASTY = "</script><script>document.title='broken'</script><img src=x onerror=alert(1)>\"'&amp;%{x}$<!--"


def sample() -> CompareResult:
    """Nine contenders on seven links: one cell void, one stopped by --max-time, one failed."""
    return CompareResult.read(SAMPLE)


def nasty() -> CompareResult:
    """The sample with every free text in it as bad as can be."""
    result = sample()
    return replace(
        result,
        method=replace(result.method, file_name=NASTY, seed=NASTY, cpu=NASTY, command=("blockstep", "compare", NASTY)),
        contenders=tuple(replace(each, label=f"{each.label} {NASTY}") for each in result.contenders),
        links=tuple(replace(each, label=f"{each.label} {NASTY}") for each in result.links),
        cells=tuple(replace(each, reason=each.reason and NASTY) for each in result.cells),
        summary=NASTY,
        findings=tuple(replace(each, text=NASTY) for each in result.findings),
    )


class Page(HTMLParser):
    """A document as tags in their order, texts by element id for the embedded data, and all text that is shown."""

    def __init__(self, markup: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.data: dict[str, str] = {}
        self.shown = ""
        self._inside: str | None = None
        self.feed(markup)
        self.close()

    def all(self, tag: str, **attributes: str) -> list[dict[str, str | None]]:
        """The attributes of each such element."""
        return [has for name, has in self.tags if name == tag and attributes.items() <= has.items()]

    def json(self, data_id: str) -> Any:
        """What an embedded element holds."""
        return json.loads(self.data[data_id])

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._inside = dict(attrs).get("id") or "" if tag in ("script", "style") else None

    def handle_endtag(self, tag: str) -> None:
        self._inside = None

    def handle_data(self, data: str) -> None:
        if self._inside is None:
            self.shown += data
        else:
            self.data[self._inside] = self.data.get(self._inside, "") + data
