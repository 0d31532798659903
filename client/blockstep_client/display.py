"""Where the client's words go: results to standard output, everything else to standard error.

Standard output belongs to programs: a line or a JSON object for each transfer, and nothing at all while the file itself
goes there. Bars are out of the way whenever something is written, and there are none where the file itself goes to a
terminal. A standard output that takes nothing more keeps no transfer from being tried; the exit code tells of it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import click

from blockstep_client.jobs import Direction, Job
from blockstep_client.progress import Progress, colour_wanted, make_progress
from blockstep_client.result import TransferResult

__all__ = ["Display", "Verbosity"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verbosity:
    """What a user asked to see."""

    json: bool = False
    quiet: bool = False
    verbose: bool = False


class Display:
    """The output of one command. Close it to leave the terminal in order."""

    def __init__(self, verbosity: Verbosity, jobs: Sequence[Job]) -> None:
        self._verbosity = verbosity
        self._colour = colour_wanted(sys.stderr, os.environ)
        self.output_failed = False
        shows_the_file = any(job.writes_standard_output for job in jobs) and os.isatty(1)
        quiet = verbosity.quiet or shows_the_file
        self.progress: Progress = make_progress(
            sys.stderr, os.environ, quiet=quiet, files=len(jobs), total_bytes=_total_bytes(jobs)
        )

    def note(self, text: str) -> None:
        """A detail for who asked for details. `text` is safe to print."""
        if self._verbosity.verbose:
            self._tell(text)

    def report(self, result: TransferResult) -> None:
        """One transfer is over."""
        if self._verbosity.json:
            self._say(result.to_json())
        if result.failure is not None:
            self._tell(click.style("error: ", fg="red") + result.failure.message)
        elif not self._verbosity.json and not self._verbosity.quiet and not result.job.writes_standard_output:
            self._say(result.line())

    def close(self) -> None:
        """Nothing more comes."""
        self.progress.close()

    def _say(self, line: str) -> None:
        if self.output_failed:
            return
        with self.progress.aside():
            error = _failure_of(line)
        if error is not None:
            self.output_failed = True
            with open(os.devnull, "wb") as nowhere:  # what is still in the buffer, at the end of the process
                os.dup2(nowhere.fileno(), 1)
            self._tell(f"standard output takes no more: {(error.strerror or 'unknown error').lower()}")

    def _tell(self, text: str) -> None:
        with self.progress.aside():
            click.echo(f"blockstep: {text}", err=True, color=self._colour)


def _failure_of(line: str) -> OSError | None:
    """Print a line; what kept it from being printed: a full disk, a reader that has gone."""
    try:
        click.echo(line)
    except OSError as error:
        return error
    return None


def _total_bytes(jobs: Sequence[Job]) -> int | None:
    """What all files hold together, None where one of them cannot be known before it moves."""
    total = 0
    for job in jobs:
        if job.direction is Direction.GET or job.uses_standard_stream or not os.path.isfile(job.local):
            return None
        total += os.path.getsize(job.local)
    return total
