"""A sink that holds the sender to the size it announced (RFC 2349).

A size that both sides have agreed on is the only thing in TFTP that tells a file that was cut short from one that is
short: a block that is not full ends the transfer, whoever made it so. Which sizes are binding is the callers' to say.
"""

from __future__ import annotations

from collections.abc import Sequence

from blockstep.protocol.errors import End, ErrorCode, TransferFailed
from blockstep.transport.files import Sink

__all__ = ["SizedSink"]


class SizedSink:
    """Another sink that has to hold exactly `size_bytes` when it is committed.

    A write beyond that ends the transfer at once, a byte too few keeps the file from appearing: TransferFailed
    (End.PEER_BROKE_RULES), and what was written is gone.
    """

    def __init__(self, inner: Sink, size_bytes: int) -> None:
        self._inner = inner
        self._size_bytes = size_bytes

    @property
    def bytes_written(self) -> int:
        """What the sink below holds."""
        return self._inner.bytes_written

    def writev(self, views: Sequence[memoryview]) -> None:
        """Append `views`, and see whether that was too much."""
        self._inner.writev(views)
        if self._inner.bytes_written > self._size_bytes:
            raise self._wrong("more")

    def commit(self) -> None:
        """Commit below, unless something is missing."""
        if self.bytes_written < self._size_bytes:
            raise self._wrong(f"only {self.bytes_written}")
        self._inner.commit()

    def abort(self) -> None:
        """Abort below."""
        self._inner.abort()

    def _wrong(self, sent: str) -> TransferFailed:
        self.abort()
        detail = f"{self._size_bytes} bytes were announced and {sent} sent"
        return TransferFailed(End.PEER_BROKE_RULES, detail, ErrorCode.UNDEFINED)
