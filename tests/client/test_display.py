from __future__ import annotations

from pathlib import Path

import pytest

from blockstep.protocol.machine import TransferStats
from blockstep_client.address import parse_target
from blockstep_client.display import Display, Verbosity
from blockstep_client.jobs import Direction, Job
from blockstep_client.result import Failure, TransferResult

JOB = Job(Direction.GET, parse_target("h:a"), "a")
TO_STDOUT = Job(Direction.GET, parse_target("h:a"), "-")
BAD = Failure("timed_out", "h:a: no answer.", 28)


def shown(capsys: pytest.CaptureFixture[str], verbosity: Verbosity, job: Job, failure: Failure | None) -> list[int]:
    """Lines on standard output and on standard error, for a note and a result."""
    display = Display(verbosity, [job])
    display.note("a detail")
    display.report(TransferResult(job=job, mode="octet", seconds=1.0, stats=TransferStats(), failure=failure))
    display.close()
    captured = capsys.readouterr()
    assert "\x1b" not in captured.err, "no colour where there is no terminal"
    return [captured.out.count("\n"), captured.err.count("\n")]


@pytest.mark.parametrize(
    ("verbosity", "job", "failure", "lines"),
    [
        (Verbosity(), JOB, None, [1, 0]),
        (Verbosity(), JOB, BAD, [0, 1]),
        (Verbosity(), TO_STDOUT, None, [0, 0]),
        (Verbosity(verbose=True), JOB, None, [1, 1]),
        (Verbosity(quiet=True), JOB, None, [0, 0]),
        (Verbosity(quiet=True), JOB, BAD, [0, 1]),
        (Verbosity(json=True), JOB, None, [1, 0]),
        (Verbosity(json=True), JOB, BAD, [1, 1]),
        (Verbosity(json=True, quiet=True), JOB, None, [1, 0]),
    ],
)
def test_results_go_to_stdout_and_the_rest_to_stderr(
    capsys: pytest.CaptureFixture[str], verbosity: Verbosity, job: Job, failure: Failure | None, lines: list[int]
) -> None:
    assert shown(capsys, verbosity, job, failure) == lines


class Terminal:
    """Standard error of somebody who looks."""

    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str) -> int:
        self.text += text
        return len(text)

    def flush(self) -> None:
        """Nothing waits."""

    def isatty(self) -> bool:
        return True

    def fileno(self) -> int:
        raise OSError


def drawn_total(monkeypatch: pytest.MonkeyPatch, jobs: list[Job]) -> str:
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    Display(Verbosity(), jobs).close()
    return terminal.text


def test_the_total_of_files_to_send_is_in_bytes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    jobs = []
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(bytes(1024))
        jobs.append(Job(Direction.PUT, parse_target(f"h:{name}"), str(tmp_path / name)))
    assert "/2.00k" in drawn_total(monkeypatch, jobs)


def test_the_total_of_what_is_not_known_yet_is_in_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert "0/2" in drawn_total(monkeypatch, [JOB, JOB])
    missing = Job(Direction.PUT, parse_target("h:a"), str(tmp_path / "missing"))
    assert "0/2" in drawn_total(monkeypatch, [missing, missing])


def test_errors_are_red_on_a_terminal_unless_no_color(monkeypatch: pytest.MonkeyPatch) -> None:
    for no_color, red in (("", True), ("1", False)):
        monkeypatch.setenv("NO_COLOR", no_color)
        monkeypatch.setenv("TERM", "xterm")
        terminal = Terminal()
        monkeypatch.setattr("sys.stderr", terminal)
        display = Display(Verbosity(), [JOB])
        display.report(TransferResult(job=JOB, mode="octet", seconds=1.0, failure=BAD))
        display.close()
        assert ("\x1b[31merror: " in terminal.text) is red
