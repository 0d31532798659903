"""Lines to a descriptor that may be slow, full or gone, without ever waiting for it.

A server must not stand still because nobody reads its log. A line is written at once if the descriptor takes it
(`poll`, and no more than PIPE_BUF bytes a time, which a pipe that is ready takes whole); otherwise it waits here, and
above a bound it is dropped and counted. The descriptor's own flags stay as they are: they are shared with others.
"""

from __future__ import annotations

import os
import select
from collections import deque

__all__ = ["LogOutput"]

_LINES_MAX = 10_000


class LogOutput:
    """The log of one process. `fd` stays the caller's."""

    def __init__(self, fd: int, *, lines_max: int = _LINES_MAX) -> None:
        self._fd = fd
        self._lines_max = lines_max
        self._waiting: deque[bytes] = deque()
        self._lost = 0
        self._poll = select.poll()
        self._poll.register(fd, select.POLLOUT)

    @property
    def waits(self) -> bool:
        """True if there are lines that the descriptor has not taken yet."""
        return bool(self._waiting)

    def put(self, line: str) -> None:
        """Write a line, now or when it can be."""
        if len(self._waiting) >= self._lines_max:
            self._lost += 1
            return
        if self._lost:
            self._waiting.append(f"blockstep: {self._lost} lines of this log were lost, nobody read it\n".encode())
            self._lost = 0
        self._waiting.append(line.encode(errors="backslashreplace") + b"\n")
        self.flush()

    def forget(self) -> None:
        """Drop what waits: it is another process's to write."""
        self._waiting.clear()
        self._lost = 0

    def flush(self, wait_s: float = 0.0) -> None:
        """Write what the descriptor takes; with `wait_s`, wait that long for it each time that it takes nothing."""
        while self._waiting and self._poll.poll(wait_s * 1000):
            line = self._waiting.popleft()
            try:
                written = os.write(self._fd, line[: select.PIPE_BUF])
            except BlockingIOError:
                written = 0
            except OSError:  # the disk is full, the reader is gone: this line is lost, the server is not
                continue
            if written < len(line):
                self._waiting.appendleft(line[written:])
            if not written:
                return
