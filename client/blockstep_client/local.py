"""The local end of a transfer: a file, or the standard streams, in the mode in which it travels.

A received file is held to the size that the server announced (RFC 2349): a write beyond it ends the transfer at once,
a byte too few keeps the file from appearing. In netascii the announced size is not compared, because servers disagree
on which form of the text it counts.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from blockstep.protocol.errors import End, ErrorCode, TransferFailed
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
from blockstep_client.jobs import Job

__all__ = ["ReceivedFile", "open_sink", "open_source"]

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
        return ReceivedFile(NetasciiSink(_plain_sink(job, replace, None)), None)
    return ReceivedFile(_plain_sink(job, replace, tsize), tsize)


def _plain_sink(job: Job, replace: bool, expected_bytes: int | None) -> Sink:
    if job.uses_standard_stream:
        return StreamSink(_STDOUT)
    return sink_at(Path(job.local), replace=replace, expected_bytes=expected_bytes)


class ReceivedFile:
    """Another sink that has to hold `size_bytes` when it is committed, unless that is None.

    `committed_at` says when that was, on the monotonic clock, for the client still lingers then. Where the size is
    wrong, TransferFailed (End.PEER_BROKE_RULES).
    """

    def __init__(self, inner: Sink, size_bytes: int | None) -> None:
        self.committed_at: float | None = None
        self._inner = inner
        self._size_bytes = size_bytes

    @property
    def bytes_written(self) -> int:
        """What the sink below holds."""
        return self._inner.bytes_written

    def writev(self, views: Sequence[memoryview]) -> None:
        """Append `views`, and see whether that was too much."""
        self._inner.writev(views)
        if self._size_bytes is not None and self._inner.bytes_written > self._size_bytes:
            raise self._wrong("more")

    def commit(self) -> None:
        """Commit below, unless something is missing."""
        if self._size_bytes is not None and self.bytes_written < self._size_bytes:
            raise self._wrong(f"only {self.bytes_written}")
        self._inner.commit()
        self.committed_at = time.monotonic()

    def abort(self) -> None:
        """Abort below."""
        self._inner.abort()

    def _wrong(self, sent: str) -> TransferFailed:
        self.abort()
        detail = f"{self._size_bytes} bytes were announced and {sent} sent"
        return TransferFailed(End.PEER_BROKE_RULES, detail, ErrorCode.UNDEFINED)
