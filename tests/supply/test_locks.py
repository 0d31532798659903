"""The lock files hold what pyproject.toml asks for, with digests and no place; and `.ci/install` uses them so."""

from __future__ import annotations

import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LOCKED = ("dev", "supply", "fuzz")
DIGEST = re.compile(r"--hash=sha256:[0-9a-f]{64}")


def locked(extra: str) -> dict[str, str]:
    """Name and version of each release."""
    text = (ROOT / f"requirements-{extra}.lock").read_text()
    return dict(re.findall(r"^([a-z0-9-]+)==([^ \\;]+)", text, re.MULTILINE))


@pytest.mark.parametrize("extra", LOCKED)
def test_every_release_is_pinned_with_its_digests_and_no_place_is_named(extra: str) -> None:
    text = (ROOT / f"requirements-{extra}.lock").read_text()
    entries = re.split(r"\n(?=[a-z])", text.partition("\n")[2].replace(" \\\n", " "))[1:]
    assert entries
    assert [entry for entry in entries if not DIGEST.search(entry)] == []
    assert not re.search(r"://|@ |--index|--find-links|--extra-index", text)


@pytest.mark.parametrize("extra", LOCKED)
def test_what_is_asked_for_is_locked_within_its_bounds(extra: str) -> None:
    """A dependency that was added or moved wants `make lock`."""
    releases = locked(extra)
    for line in (*PROJECT["dependencies"], *PROJECT["optional-dependencies"][extra]):
        wanted = Requirement(line)
        name = canonicalize_name(wanted.name)
        assert name in releases, f"{line}: run make lock"
        assert wanted.specifier.contains(releases[name]), f"{line}, but {releases[name]} is locked: run make lock"


def test_what_is_in_two_lock_files_is_the_same_release() -> None:
    development = locked("dev")
    for extra in LOCKED[1:]:
        assert {name: development[name] for name in locked(extra).keys() & development.keys()}.items() <= locked(
            extra
        ).items()


# A Python whose pip does as it is told in $PIP_SAYS, for the lock file alone, and keeps what it was asked for.
FAKE_PYTHON = """#!/bin/sh
echo "$@" >> "$ASKED"
case "$*" in
*--require-hashes*) printf '%s\\n' "$PIP_SAYS" >&2; test -z "$PIP_SAYS" ;;
esac
"""
NOT_THERE = "ERROR: Could not find a version that satisfies it\nERROR: No matching distribution found for x==99"
TAMPERED = "ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE."


@pytest.mark.parametrize(
    ("says", "environ", "status", "last"),
    [
        ("", {}, 0, "--no-build-isolation --no-deps --editable ."),
        (NOT_THERE, {}, 0, "--editable .[dev]"),
        (NOT_THERE, {"BLOCKSTEP_LOCKED": "1"}, 1, "--requirement requirements-dev.lock"),
        (TAMPERED, {}, 1, "--requirement requirements-dev.lock"),
        (f"{NOT_THERE}\n{TAMPERED}", {}, 1, "--requirement requirements-dev.lock"),
        ("ERROR: the disk is full", {}, 1, "--requirement requirements-dev.lock"),
    ],
    ids=["locked", "not there", "not there, but must be", "another digest", "both", "anything else"],
)
def test_only_a_release_that_the_index_lacks_is_replaced(
    tmp_path: Path, says: str, environ: dict[str, str], status: int, last: str
) -> None:
    python, asked = tmp_path / "python", tmp_path / "asked"
    python.write_text(FAKE_PYTHON)
    python.chmod(0o755)
    base = {name: value for name, value in os.environ.items() if name != "BLOCKSTEP_LOCKED"}
    done = subprocess.run(
        [ROOT / ".ci" / "install", tmp_path, "dev"],
        env={**base, "PIP_SAYS": says, "ASKED": str(asked), **environ},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == status, done.stderr
    assert asked.read_text().splitlines()[-1].endswith(last)
    assert says.splitlines()[-1:] == [] or says.splitlines()[-1] in done.stderr
