"""Where the client's words go: results to standard output, everything else to standard error.

Standard output belongs to programs: a line or a JSON object for each transfer, and nothing at all while the file itself
goes there. Bars are out of the way whenever something is written.
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
        self.progress: Progress = make_progress(
            sys.stderr, os.environ, quiet=verbosity.quiet, files=len(jobs), total_bytes=_total_bytes(jobs)
        )

    def note(self, text: str) -> None:
        """A detail for who asked for details. `text` is safe to print."""
        if self._verbosity.verbose:
            self._tell(text)

    def report(self, result: TransferResult) -> None:
        """One transfer is over."""
        if self._verbosity.json:
            with self.progress.aside():
                click.echo(result.to_json())
        if result.failure is not None:
            self._tell(click.style("error: ", fg="red") + result.failure.message)
        elif not self._verbosity.json and not self._verbosity.quiet and not result.job.writes_standard_output:
            with self.progress.aside():
                click.echo(result.line())

    def close(self) -> None:
        """Nothing more comes."""
        self.progress.close()

    def _tell(self, text: str) -> None:
        with self.progress.aside():
            click.echo(f"blockstep: {text}", err=True, color=self._colour)


def _total_bytes(jobs: Sequence[Job]) -> int | None:
    """What all files hold together, None where one of them cannot be known before it moves."""
    total = 0
    for job in jobs:
        if job.direction is Direction.GET or job.uses_standard_stream or not os.path.isfile(job.local):
            return None
        total += os.path.getsize(job.local)
    return total
