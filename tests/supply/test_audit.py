from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from supply.audit import Answer, ask, audit, read_answer

LOCK = Path("requirements-x.lock")
CLEAN = {"name": "good", "version": "1.0", "vulns": []}
HOLE = {"id": "PYSEC-1", "fix_versions": ["1.1"], "aliases": [], "description": "bad"}
BAD = {"name": "bad", "version": "1.0", "vulns": [HOLE, {**HOLE, "id": "PYSEC-2", "fix_versions": []}]}
SKIPPED = {"name": "other", "skip_reason": "Dependency not found and could not be audited: other (1.0)"}


def said(*releases: dict[str, Any]) -> str:
    return json.dumps({"dependencies": releases, "fixes": []})


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (said(CLEAN), Answer(1, 0)),
        (said(CLEAN, SKIPPED), Answer(1, 1)),
        (said(SKIPPED), Answer(0, 1)),
        (
            said(CLEAN, BAD),
            Answer(2, 0, ("bad 1.0: PYSEC-1, fixed in 1.1", "bad 1.0: PYSEC-2, fixed in no release yet")),
        ),
        ("", None),
        ("{}", None),
        ("[]", None),
        ("Traceback", None),
    ],
)
def test_what_pip_audit_writes_is_read(text: str, answer: Answer | None) -> None:
    assert read_answer(text) == answer


def run_audit(*answers: Answer | str) -> tuple[int, list[str]]:
    """The exit status and the words, when the services answer like this in turn."""
    waiting, lines = list(answers), list[str]()
    status = audit([LOCK], lambda _service, _lock: waiting.pop(0), lines.append)
    assert not waiting, "not all were asked"
    return status, lines


def test_a_known_vulnerability_fails_and_is_named() -> None:
    status, lines = run_audit(Answer(20, 0, ("bad 1.0: PYSEC-1, fixed in 1.1",)))
    assert status == 1
    assert "  bad 1.0: PYSEC-1, fixed in 1.1" in lines


def test_nothing_known_is_no_failure() -> None:
    assert run_audit(Answer(20, 0)) == (0, ["audit: requirements-x.lock: osv was asked about 20 releases: 0 holes"])


def test_the_next_service_is_asked_where_one_cannot_be() -> None:
    assert run_audit("no answer in 60 s", Answer(20, 0))[0] == 0
    assert run_audit("no answer in 60 s", Answer(20, 0, ("bad",)))[0] == 1


def test_without_a_network_it_does_not_fail_and_says_that_nothing_was_checked() -> None:
    status, lines = run_audit("no such host", "it knows none of 20 releases")
    assert status == 0
    assert "no such host" in lines[0]
    assert "NOTHING WAS CHECKED" in lines[-1]


def test_without_a_lock_file_it_fails() -> None:
    assert audit([], say=lambda _line: None) == 1


@pytest.mark.parametrize(
    ("program", "answer"),
    [
        (f"print({said(CLEAN, BAD)!r}); raise SystemExit(1)", Answer(2, 0, read_answer(said(BAD)).found)),  # type: ignore[union-attr]
        (f"print({said(SKIPPED)!r})", "it knows none of 1 releases"),
        ("raise OSError('Failed to resolve')", "OSError: Failed to resolve"),
        ("import time; time.sleep(60)", "no answer in 0.3 s"),
        ("pass", "it said nothing"),
    ],
)
def test_a_program_in_place_of_pip_audit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str, answer: Answer | str
) -> None:
    """A hole makes pip-audit exit with 1, and so does a service that it cannot reach: the JSON tells them apart."""
    (tmp_path / "pip_audit.py").write_text(program)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert ask("osv", LOCK, patience_s=0.3 if "sleep" in program else 30.0) == answer


def test_arguments_that_pip_audit_does_not_take_are_our_own_mistake(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pip_audit.py").write_text("raise SystemExit(2)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(SystemExit, match="does not take these arguments"):
        ask("osv", LOCK)
