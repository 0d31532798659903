"""Standard input and output, pipes and devices, as sources and sinks (`files`).

Somebody is still making what such a source gives: it may have nothing at the moment, and says so (`files.Unsteady`).
What has gone through such a sink cannot be taken back.
"""

from __future__ import annotations

import os
import select
import time
from collections.abc import Sequence

from blockstep.transport.vectored import read_failed, read_fully, wait_until_ready, write_failed, write_fully

__all__ = ["StreamSink", "StreamSource"]


class StreamSource:
    """Standard input, a pipe or a device: read forward until it ends, waiting for full views. The size is not known."""

    size_bytes = None

    def __init__(self, fd: int, *, owned: bool = False) -> None:
        self._fd = fd
        self._owned = owned
        self._ended = False
        self._ahead = bytearray()  # read before anybody had room for it
        self._poll = select.poll()
        self._poll.register(fd, select.POLLIN)

    def ready_bytes(self, wanted: int, wait_s: float = 0.0) -> int:
        """What the writer has brought, or `wanted` after its end; see `Unsteady`."""
        until = time.monotonic() + wait_s
        try:
            while not self._ended and len(self._ahead) < wanted:
                if not self._poll.poll(max(0.0, until - time.monotonic()) * 1000):
                    break
                got = os.read(self._fd, wanted - len(self._ahead))
                self._ended = not got
                self._ahead += got
        except BlockingIOError:
            pass
        except OSError as error:
            raise read_failed(error) from None
        return wanted if self._ended else min(wanted, len(self._ahead))

    def readv(self, views: Sequence[memoryview]) -> int:
        """Fill `views`, waiting for the writer; see `Source.readv`."""
        try:
            return read_fully(self._read, views)
        except OSError as error:
            raise read_failed(error) from None

    def close(self) -> None:
        """Close the descriptor if it is owned; may be called twice."""
        owned, self._owned = self._owned, False
        if owned:
            os.close(self._fd)

    def _read(self, batch: Sequence[memoryview], _done: int) -> int:
        if self._ahead:
            return self._from_ahead(batch)
        # A terminal would go on after its end-of-file; the transfer does not.
        while not self._ended:
            try:
                got = os.readv(self._fd, batch)
            except BlockingIOError:
                wait_until_ready(self._fd, select.POLLIN)
                continue
            self._ended = not got
            return got
        return 0

    def _from_ahead(self, batch: Sequence[memoryview]) -> int:
        done = 0
        for view in batch:
            part = self._ahead[done : done + len(view)]
            view[: len(part)] = part
            done += len(part)
        del self._ahead[:done]
        return done


class StreamSink:
    """Standard output, a pipe or a device. What went through it cannot be taken back: `abort` only lets go."""

    def __init__(self, fd: int, *, owned: bool = False) -> None:
        self._fd = fd
        self._owned = owned
        self.bytes_written = 0

    def writev(self, views: Sequence[memoryview]) -> None:
        """Write all of `views`. Raises TransferFailed (End.LOCAL_WRITE), also when the reader is gone."""
        try:
            self.bytes_written += write_fully(self._write, views)
        except OSError as error:
            self.abort()
            raise write_failed(error) from None

    def commit(self) -> None:
        """Let go of the descriptor; the bytes are with their reader."""
        self._close()

    def abort(self) -> None:
        """Let go of the descriptor."""
        self._close()

    def _close(self) -> None:
        owned, self._owned = self._owned, False
        if owned:
            os.close(self._fd)

    def _write(self, batch: Sequence[memoryview], _done: int) -> int:
        while True:
            try:
                return os.writev(self._fd, batch)
            except BlockingIOError:
                wait_until_ready(self._fd, select.POLLOUT)
