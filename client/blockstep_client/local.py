"""The local end of a transfer: a file, or the standard streams, in the mode in which it travels.

A received file is held to the size that the server announced (`blockstep.transport.sized`). In netascii the announced
size is not compared, because servers disagree on which form of the text it counts.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from blockstep.transport.atomic import sweep_leftovers
from blockstep.transport.files import (
    NetasciiSink,
    NetasciiSource,
    Sink,
    Source,
    StreamSink,
    StreamSource,
    sink_at,
    source_at,
)
from blockstep.transport.sized import SizedSink
from blockstep_client.jobs import Direction, Job

__all__ = ["ReceivedFile", "open_sink", "open_source", "remove_leftovers"]

_STDIN: Final = 0
_STDOUT: Final = 1


def open_source(job: Job, mode: str) -> Source:
    """What `put` sends, as it goes on the wire in `mode`. Raises TransferFailed (End.LOCAL_READ)."""
    source: Source = StreamSource(_STDIN) if job.uses_standard_stream else source_at(Path(job.local))
    return NetasciiSource(source) if mode == "netascii" else source


def open_sink(job: Job, mode: str, *, replace: bool, tsize: int | None) -> ReceivedFile:
    """Where `get` puts what arrives in `mode`; `tsize` is what the server announced, in bytes, None if it did not.

    Raises TransferFailed (End.LOCAL_WRITE), also when `tsize` is more than the disk has room for.
    """
    if mode == "netascii":
        return ReceivedFile(NetasciiSink(_plain_sink(job, replace, None)))
    sink = _plain_sink(job, replace, tsize)
    return ReceivedFile(sink if tsize is None else SizedSink(sink, tsize))


def remove_leftovers(jobs: Iterable[Job]) -> int:
    """Clear the folders that `jobs` write to of what a killed `get` has left there; return how many files went.

    That is at most one hidden file for each kill. A folder that cannot be read is the transfer's to complain about.
    """
    written = (job for job in jobs if job.direction is Direction.GET and not job.uses_standard_stream)
    folders = {os.path.dirname(os.path.realpath(job.local)) for job in written}
    return sum(map(_sweep, folders))


def _sweep(folder: str) -> int:
    with contextlib.suppress(OSError):
        dir_fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            return sweep_leftovers(dir_fd, max_depth=0)
        finally:
            os.close(dir_fd)
    return 0


def _plain_sink(job: Job, replace: bool, expected_bytes: int | None) -> Sink:
    if job.uses_standard_stream:
        return StreamSink(_STDOUT)
    return sink_at(Path(job.local), replace=replace, expected_bytes=expected_bytes)


class ReceivedFile:
    """Another sink; `committed_at` says when it was committed, on the monotonic clock, for the client lingers then."""

    def __init__(self, inner: Sink) -> None:
        self.committed_at: float | None = None
        self._inner = inner

    @property
    def bytes_written(self) -> int:
        """What the sink below holds."""
        return self._inner.bytes_written

    def writev(self, views: Sequence[memoryview]) -> None:
        """Append `views`."""
        self._inner.writev(views)

    def commit(self) -> None:
        """Commit below, and look at the clock."""
        self._inner.commit()
        self.committed_at = time.monotonic()

    def abort(self) -> None:
        """Abort below."""
        self._inner.abort()
