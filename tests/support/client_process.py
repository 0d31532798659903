"""`blockstep get` and `blockstep put` in a process of their own, forked, so that one costs a few milliseconds.

What the process does from its arguments to its exit status is what a user's does, and it can be killed as one.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from types import TracebackType
from typing import Self

import click

from blockstep_lab.netns.forked import close_all_but, fork_child, is_running, reap

__all__ = ["ClientProcess"]

_PATIENCE_S = 30.0


class ClientProcess:
    """A client. As a context manager it is gone at the end; `words` are its arguments.

    `enter` takes the process to where it works, before anything else: into a network or a mount of a test's own.
    """

    def __init__(
        self,
        command: click.Command,
        *words: object,
        stdin_fd: int | None = None,
        enter: Callable[[], object] = lambda: None,
    ) -> None:
        self._output_fd, theirs = os.pipe()
        self._status: int | None = None

        def live() -> None:
            enter()
            _be_client(command, list(map(str, words)), theirs, stdin_fd)

        self.pid = fork_child(live)
        os.close(theirs)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._status is None:
            self.kill()
        os.close(self._output_fd)

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        os.kill(self.pid, number)

    def kill(self) -> None:
        """End it as by kill -9."""
        os.kill(self.pid, signal.SIGKILL)
        self.wait()

    def wait(self) -> int:
        """Wait for its end; the exit status, or minus the signal."""
        if self._status is None:
            self._status = reap(self.pid, _PATIENCE_S)
        return self._status

    def is_running(self) -> bool:
        """Whether it lives."""
        return is_running(self.pid, 0.0)

    def await_word(self, word: str) -> str:
        """Read what it prints until `word` is there, or its end; what was read."""
        said = b""
        while word.encode() not in said and (piece := os.read(self._output_fd, 4096)):
            said += piece
        assert word.encode() in said, said.decode()
        return said.decode()

    def said(self) -> str:
        """Everything that it has printed, to its end."""
        said = b""
        while piece := os.read(self._output_fd, 4096):
            said += piece
        return said.decode()


def _be_client(command: click.Command, words: list[str], output_fd: int, stdin_fd: int | None) -> None:
    stdin_fd = os.open(os.devnull, os.O_RDONLY) if stdin_fd is None else stdin_fd
    for fd, number in ((stdin_fd, 0), (output_fd, 1), (output_fd, 2)):
        os.dup2(fd, number)
    close_all_but({0, 1, 2})
    sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")  # pytest has put others in their place
    try:
        command.main(words)
    except SystemExit as end:
        sys.stdout.flush()
        os._exit(end.code if isinstance(end.code, int) else 1)
