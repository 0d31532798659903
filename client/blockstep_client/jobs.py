"""Which file goes where: the arguments of `get` and `put` become a list of `Job`.

The rules are those of cp and scp. `get` writes to the base name in the current directory, to the file `-o` names, or
into the directory `-o` names (one that exists, or a name that ends with a slash). `put` writes to the path of DEST, or
appends the base name of FILE when DEST's path is empty or ends with a slash. Several files need a directory, and two of
them may not end at the same place. `-` is standard output or input.

Only names are decided here. Nothing is opened, so a name that turns out to be unreadable is the transfer's failure, not
a usage error; everything else raises click.UsageError.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

import click

from blockstep.protocol.wire import printable_untrusted
from blockstep_client.address import Target

__all__ = ["STANDARD_STREAM", "Direction", "Job", "plan_get", "plan_put"]

STANDARD_STREAM: Final = "-"


class Direction(Enum):
    """Which way the file goes."""

    GET = "get"
    PUT = "put"


@dataclass(frozen=True, slots=True)
class Job:
    """One transfer: a remote file and a local name (`STANDARD_STREAM` for standard input or output)."""

    direction: Direction
    target: Target
    local: str

    @property
    def uses_standard_stream(self) -> bool:
        """Whether the local end is standard input (put) or standard output (get)."""
        return self.local == STANDARD_STREAM

    @property
    def writes_standard_output(self) -> bool:
        """Whether the file itself goes to standard output."""
        return self.uses_standard_stream and self.direction is Direction.GET


def plan_get(sources: Sequence[Target], output: str | None) -> list[Job]:
    """One job for each source. `output` is what `-o` was given."""
    _refuse_nul([output or ""])
    for source in sources:
        if source.is_directory:
            raise click.UsageError(f"{source}: names no file; TFTP cannot fetch a directory.")
    if output == STANDARD_STREAM:
        return [Job(Direction.GET, source, STANDARD_STREAM) for source in sources]
    if output is None or output.endswith(os.sep) or os.path.isdir(output):
        return _distinct([Job(Direction.GET, source, _inside(output, source)) for source in sources])
    if len(sources) > 1:
        raise click.UsageError(f"{_shown(output)}: several files need a directory that exists, or -o -.")
    return [Job(Direction.GET, sources[0], output)]


def plan_put(files: Sequence[str], destination: Target) -> list[Job]:
    """One job for each local file."""
    _refuse_nul(files)
    if destination.is_directory:
        jobs = [Job(Direction.PUT, destination.child(_local_base_name(file)), file) for file in files]
        return _distinct(jobs)
    if len(files) > 1:
        raise click.UsageError(f"{destination}: several files need a directory; end it with a slash.")
    return [Job(Direction.PUT, destination, files[0])]


def _inside(directory: str | None, source: Target) -> str:
    name = source.base_name
    if name in ("", ".", ".."):
        raise click.UsageError(f"{source}: no file name to save it under; say one with -o FILE.")
    if name == STANDARD_STREAM and directory is None:
        return os.path.join(os.curdir, name)
    return os.path.join(directory or "", name)


def _local_base_name(file: str) -> str:
    if file == STANDARD_STREAM:
        raise click.UsageError("Standard input has no name; end DEST with the name to store it under.")
    name = os.path.basename(os.path.abspath(file))
    if not name:
        raise click.UsageError(f"{_shown(file)}: is a directory; TFTP sends files one by one.")
    return name


def _refuse_nul(names: Iterable[str]) -> None:
    for name in names:
        if "\0" in name:
            raise click.UsageError(f"{_shown(name)}: a file name cannot hold a NUL.")


def _distinct(jobs: list[Job]) -> list[Job]:
    """The same jobs, unless two of them would overwrite each other."""
    twice = _first_repeated(job.local if job.direction is Direction.GET else job.target.path for job in jobs)
    if twice is not None:
        raise click.UsageError(f"{_shown(twice)}: two of the files would be written there.")
    return jobs


def _first_repeated(names: Iterable[str]) -> str | None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return None


def _shown(text: str) -> str:
    return printable_untrusted(text, 120)
