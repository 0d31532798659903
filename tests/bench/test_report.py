"""The tables of the bench go into a page between marks, and nothing else of the page changes."""

from __future__ import annotations

from report import put_sections, table

PAGE = "before\n<!-- begin: cpu -->\nold\n<!-- end: cpu -->\nafter\n"


def test_what_stands_between_the_marks_is_replaced() -> None:
    page = put_sections(PAGE, {"cpu": "new \\1", "unknown": "lost"})
    assert page == "before\n<!-- begin: cpu -->\nnew \\1\n<!-- end: cpu -->\nafter\n"
    assert put_sections(page, {"cpu": "old"}) == PAGE


def test_a_page_without_the_end_mark_is_left_alone() -> None:
    half = "<!-- begin: cpu -->\nold\n"
    assert put_sections(half, {"cpu": "new"}) == half


def test_a_table_can_be_read_as_it_is() -> None:
    assert table(("name", "s"), [("a", "10.5"), ("long name", "1")]).splitlines() == [
        "| name      | s    |",
        "|-----------|------|",
        "| a         | 10.5 |",
        "| long name | 1    |",
    ]
