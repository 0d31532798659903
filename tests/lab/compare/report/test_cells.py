from __future__ import annotations

import pytest

from blockstep_lab.compare.report.cells import NUMBERS, cell_table
from support.reports import NASTY, Page, nasty, sample


def test_every_cell_has_a_row_and_every_link_a_body() -> None:
    result, page = sample(), Page(cell_table(sample()))
    rows = [each for each in page.all("tr") if "data-contender" in each]
    assert [(each["data-contender"], each["data-link"]) for each in rows] == [
        (c.contender, c.link) for c in result.cells
    ]
    assert len(page.all("tbody")) == len(page.all("th", scope="rowgroup")) == len(result.links)
    assert len(page.all("th", scope="row")) == len(result.cells)
    assert len(page.all("caption")) == 1


def test_numbers_hold_the_values_of_the_record() -> None:
    result, page = sample(), Page(cell_table(sample()))
    good = [cell for cell in result.cells if cell.state == "ok"]
    for number in NUMBERS:
        shown = [
            float(str(page.tags[place + 1][1]["value"]))
            for place, (tag, has) in enumerate(page.tags)
            if tag == "td" and has.get("data-field") == number.name
        ]
        assert shown == [interval.median for cell in good if (interval := number.of(cell)) is not None]


@pytest.mark.parametrize(
    ("state", "told"),
    [
        ("void", "void: right to left: 1 in 100 packets was more than 3.10 ms late, 2.00 ms may be"),
        ("max-time", "max-time: stopped after 10 s; what had arrived by then makes"),
        ("failed", "failed: no progress for 24.0 s"),
    ],
)
def test_what_is_no_valid_number_is_told_instead(state: str, told: str) -> None:
    table = cell_table(sample())
    (row,) = (row for row in table.split("<tr") if f'data-state="{state}"' in row)
    assert "<data" not in row
    assert told in Page(f"<tr{row}").shown


def test_a_law_is_told_with_its_share_and_labels_are_escaped() -> None:
    assert "0.97 go-back-N" in Page(cell_table(sample())).shown
    table = cell_table(nasty())
    assert "<script" not in table
    assert "<img" not in table
    assert f"UDP lock-step {NASTY}" in Page(table).shown
