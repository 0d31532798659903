"""The corpus of the fuzzer, replayed by every run of the suite: real packets, and whatever once broke something."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import pytest

HERE = Path(__file__).parent
TARGETS = sorted(path.stem for path in (HERE / "targets").glob("*.py"))
CORPUS_LARGEST_BYTES = 300_000


@pytest.mark.parametrize("target", TARGETS)
def test_the_corpus_breaks_no_invariant(target: str) -> None:
    one_input = import_module(f"fuzz.targets.{target}").one_input
    files = sorted((HERE / "corpus" / target).iterdir())
    assert len(files) >= 6
    for file in files:
        try:
            one_input(file.read_bytes())
        except BaseException as error:
            error.add_note(f"repeat it: python tests/fuzz/run.py {target} --input {file}")
            raise


def test_the_corpus_has_a_folder_for_each_target_and_stays_small() -> None:
    folders = sorted(path.name for path in (HERE / "corpus").iterdir())
    assert folders == TARGETS
    assert sum(path.stat().st_size for path in (HERE / "corpus").rglob("*")) < CORPUS_LARGEST_BYTES
