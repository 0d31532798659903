"""The process in which one target is fuzzed: `worker.py TARGET libFuzzer-words...`, started by `run.py`.

It is a file of its own because atheris changes the modules that are imported after it and never returns.
"""

from __future__ import annotations

import sys
from importlib import import_module

import atheris

_INSTRUMENTED = ["blockstep", "blockstep_server", "blockstep_client", "blockstep_lab", "fuzz"]


def main(target: str, words: list[str]) -> None:
    """Fuzz until libFuzzer ends the process."""
    with atheris.instrument_imports(include=_INSTRUMENTED):
        module = import_module(f"fuzz.targets.{target}")
    # libFuzzer starts itself again, by the shell, when it merges.
    atheris.Setup([f"{sys.executable} {sys.argv[0]} {target}", *words], module.one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
