from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "SECURITY.md").read_text()


def test_every_test_that_the_page_names_exists() -> None:
    sources = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    there = set(re.findall(r"def (test_\w+)\(", sources))
    named = set(re.findall(r"`(test_\w+)`", PAGE))
    assert len(named) > 30
    assert named <= there, f"SECURITY.md names tests that do not exist: {sorted(named - there)}"


def test_every_promise_names_its_test() -> None:
    promises = [line for line in PAGE.splitlines() if line.startswith("| ") and line.count("|") == 3]
    rows = [line for line in promises if not line.startswith("| promise")]
    assert rows
    assert [line for line in rows if "`test_" not in line.split("|")[2]] == []
