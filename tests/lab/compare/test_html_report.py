from __future__ import annotations

from pathlib import Path

import pytest

from blockstep.protocol.errors import LocalError
from blockstep_lab.compare.html_report import write
from blockstep_lab.compare.results import CompareResult
from support.reports import Page, sample


def test_one_file_with_the_library_in_it(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    write(sample(), path)
    assert [each.name for each in tmp_path.iterdir()] == ["report.html"]
    html = path.read_text(encoding="utf-8")
    assert html.count("* plotly.js v") == 1
    assert len(html) < 8_000_000
    assert CompareResult.from_json(Page(html).data["record"]) == sample()


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(LocalError, match=r"nowhere/a\.html: No such file"):
        write(sample(), tmp_path / "nowhere" / "a.html")
