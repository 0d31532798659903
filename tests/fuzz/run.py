"""Fuzzing with coverage as the guide: `make fuzz`, or `python tests/fuzz/run.py TARGET... --seconds 60`.

Each target runs in a process of its own, all of them at the same time. What they learn stays in `.fuzz/TARGET/corpus`,
so the next run goes on from there; what breaks an invariant is saved as a file beside it, and the command that repeats
it is printed. Repeating needs no atheris: `python tests/fuzz/run.py TARGET --input FILE` works on every Python.

Decided here: how long, where, and that an input of more than 10 s or 512 MiB is a finding too. Not known here: what
must hold, which the targets say.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import click

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
ROOMS = [str(ROOT / room) for room in ("tftp", "server", "client", "lab", "tests")]
FOUND = ROOT / ".fuzz"
CORPUS = HERE / "corpus"
TARGETS = tuple(sorted(path.stem for path in (HERE / "targets").glob("*.py")))

_INPUT_LARGEST = 4096
_ONE_INPUT_S = 10
_MEMORY_MIB = 512
_FINDING = re.compile(r"Test unit written to (\S+)")
_COVERAGE = re.compile(r"cov: (\d+) ft: (\d+)")
_EXECUTIONS = re.compile(r"stat::number_of_executed_units:\s+(\d+)")


@dataclass(slots=True)
class Run:
    """One target's process and where it writes."""

    target: str
    process: subprocess.Popen[bytes]
    log: Path

    def told(self) -> str:
        """What it has said so far."""
        return self.log.read_text(errors="replace")


@click.command()
@click.argument("targets", nargs=-1, type=click.Choice(["all", *TARGETS]))
@click.option("--seconds", type=click.IntRange(0), default=0, help="Stop after this long [default: on Ctrl-C].")
@click.option("--input", "file", type=click.Path(exists=True, path_type=Path), help="Only repeat this input.")
@click.option("--merge", is_flag=True, help="Add what covers more to the committed corpus, and no more.")
def main(targets: tuple[str, ...], seconds: int, file: Path | None, *, merge: bool) -> None:
    """Fuzz TARGETS, by default all of them."""
    chosen = TARGETS if not targets or "all" in targets else targets
    if file is not None:
        sys.path[:0] = ROOMS
        for target in chosen:
            import_module(f"fuzz.targets.{target}").one_input(file.read_bytes())
        click.echo(f"{file}: nothing is wrong with it")
        return
    if find_spec("atheris") is None:
        raise click.ClickException("atheris is not installed: pip install --editable '.[fuzz]'")
    sys.exit(_run_all(chosen, seconds, merge=merge))


def _run_all(targets: Sequence[str], seconds: int, *, merge: bool) -> int:
    """1 if anything was found."""
    runs = [_start(target, seconds, merge=merge) for target in targets]
    click.echo(f"fuzzing {', '.join(targets)}" + (f" for {seconds} s" if seconds else "; Ctrl-C ends it"))
    try:
        failed = [not _ended_well(run) for run in runs]
    except KeyboardInterrupt:
        for run in runs:
            run.process.terminate()
        failed = [not _ended_well(run) for run in runs]
    return int(any(failed))


def _start(target: str, seconds: int, *, merge: bool) -> Run:
    folder = FOUND / target
    learnt, committed = folder / "corpus", CORPUS / target
    for each in (learnt, committed):
        each.mkdir(parents=True, exist_ok=True)
    bounds = [f"-max_len={_INPUT_LARGEST}", f"-timeout={_ONE_INPUT_S}", f"-rss_limit_mb={_MEMORY_MIB}"]
    words = [*bounds, f"-max_total_time={seconds}", "-print_final_stats=1", f"-artifact_prefix={folder}/"]
    words.append(f"-dict={HERE / 'words.dict'}")
    words += ["-merge=1", str(committed), str(learnt)] if merge else [str(learnt), str(committed)]
    log = folder / "log"
    argv = [sys.executable, str(HERE / "worker.py"), target, *words]
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(ROOMS)}
    with log.open("wb") as stream:
        process = subprocess.Popen(argv, stdout=stream, stderr=stream, env=environ)
    return Run(target, process, log)


def _ended_well(run: Run) -> bool:
    """Wait for its end and say what came of it."""
    status = run.process.wait()
    told = run.told()
    executions = next(iter(_EXECUTIONS.findall(told)), "?")
    covered, features = next(iter(reversed(_COVERAGE.findall(told))), ("?", "?"))
    found = _FINDING.findall(told)
    good = not found and status in (0, -15)
    verdict = "" if good else ", FOUND SOMETHING" if found else f", ended with status {status}: see {run.log}"
    click.echo(f"{run.target:10} {executions:>9} executions, coverage {covered} ({features} features){verdict}")
    for path in found:
        click.echo(f"  repeat it: {sys.executable} tests/fuzz/run.py {run.target} --input {path}")
    return good


if __name__ == "__main__":
    main()
