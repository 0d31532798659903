"""Asks whether anything that is locked has a known vulnerability: `python tests/supply/audit.py`, part of `make check`.

Decided here: what the answer is worth. A vulnerability fails. A service that cannot be asked, in time or at all, does
not fail, or nobody could check without a network; it is said that nothing was checked. pip-audit itself calls a release
that the service does not know "skipped" and ends well even if that was all of them; here only what has really been
looked up counts. The asking is pip-audit's.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import click

__all__ = ["Answer", "ask", "audit", "read_answer"]

ROOT: Final = Path(__file__).parents[2]
# pip-audit's names for those it can ask; the next one when one has nothing to say.
SERVICES: Final = ("osv", "pypi")
PATIENCE_S: Final = 60.0
_CONNECTION_S: Final = 5
_USAGE: Final = 2


@dataclass(frozen=True, slots=True)
class Answer:
    """`known` releases were looked up, `unknown` are not in the service's books; `found` has a line for each hole."""

    known: int
    unknown: int
    found: tuple[str, ...] = ()


Asking = Callable[[str, Path], Answer | str]
"""(service, lock file) -> the answer, or why there is none."""


def read_answer(text: str) -> Answer | None:
    """What pip-audit has written as JSON; None if that is no answer."""
    try:
        releases: list[dict[str, Any]] = json.loads(text)["dependencies"]
    except (ValueError, KeyError, TypeError):
        return None
    looked_up = [release for release in releases if "vulns" in release]
    found = [(release, hole) for release in looked_up for hole in release["vulns"]]
    lines = tuple(sorted({f"{release['name']} {release['version']}: {_described(hole)}" for release, hole in found}))
    return Answer(len(looked_up), len(releases) - len(looked_up), lines)


def _described(hole: dict[str, Any]) -> str:
    fixed = ", ".join(hole.get("fix_versions") or ()) or "no release yet"
    return f"{hole['id']}, fixed in {fixed}"


def ask(service: str, lock: Path, *, patience_s: float = PATIENCE_S) -> Answer | str:
    """Ask one service about one lock file, for so long."""
    command = [sys.executable, "-m", "pip_audit", "--vulnerability-service", service, "--requirement", str(lock)]
    command += ["--require-hashes", "--disable-pip", "--timeout", str(_CONNECTION_S)]
    command += ["--format", "json", "--progress-spinner", "off"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=patience_s, check=False)
    except subprocess.TimeoutExpired:
        return f"no answer in {patience_s:g} s"
    if done.returncode == _USAGE:
        raise SystemExit(f"audit: pip-audit does not take these arguments any more: {_last_words(done.stderr)}")
    answer = read_answer(done.stdout)
    if answer is None:
        return _last_words(done.stderr)
    return answer if answer.known else f"it knows none of {answer.unknown} releases"


def _last_words(text: str) -> str:
    lines = text.strip().splitlines() or ["it said nothing"]
    return lines[-1].rpartition("Caused by ")[2][:200]


def audit(locks: Sequence[Path], asking: Asking = ask, say: Callable[[str], object] = click.echo) -> int:
    """The exit status for all of them: 1 if a vulnerability is known, or if there is nothing to ask about."""
    if not locks:
        say("audit: there is no lock file; make lock writes them")
        return 1
    return max(_audit_one(lock, asking, say) for lock in locks)


def _audit_one(lock: Path, asking: Asking, say: Callable[[str], object]) -> int:
    for service in SERVICES:
        answer = asking(service, lock)
        if isinstance(answer, str):
            say(f"audit: {lock.name}: {service} cannot be asked: {answer}")
            continue
        unknown = f", {answer.unknown} it does not know" if answer.unknown else ""
        say(
            f"audit: {lock.name}: {service} was asked about {answer.known} releases{unknown}: {len(answer.found)} holes"
        )
        for line in answer.found:
            say(f"  {line}")
        return 1 if answer.found else 0
    say(f"audit: {lock.name}: NOTHING WAS CHECKED, as no service could be asked (no failure, but no answer either)")
    return 0


if __name__ == "__main__":
    if find_spec("pip_audit") is None:
        sys.exit("audit: pip-audit is not installed; make check installs it")
    sys.exit(audit(sorted(ROOT.glob("requirements-*.lock"))))
