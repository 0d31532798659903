"""The living children: forked, heard, signalled and reaped here, and nowhere else.

Rules: a child is known from before the fork until it has been waited for; it leaves with exactly one record, its own or
one made here from its exit status; a record that comes for somebody who is not a child is dropped. No loop, no clock
and no policy in here: who may have a child is decided by `admission`, when to stop by `supervisor`.
"""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass, replace

from blockstep_server.admission import Claim
from blockstep_server.child import HELD_BACK, Birth, Body, live_and_exit
from blockstep_server.report import Result, TransferRecord

__all__ = ["Child", "Children", "Task"]


@dataclass(frozen=True, slots=True)
class Task:
    """One piece of work for one child: its place, its body, its blank record, the descriptors that it needs."""

    claim: Claim
    body: Body
    blank: TransferRecord
    keep_fds: tuple[int, ...] = ()


@dataclass(slots=True)
class Child:
    """A child and what is known about it. `record` is None until it has reported."""

    pid: int
    task: Task
    started_s: float
    record: TransferRecord | None = None


class Children:
    """The children of one supervisor and the pipe on which they report."""

    def __init__(self) -> None:
        self._living: dict[int, Child] = {}
        self._unread = b""
        self._read_fd, self._write_fd = os.pipe()
        os.set_blocking(self._read_fd, False)

    def __len__(self) -> int:
        return len(self._living)

    def fileno(self) -> int:
        """Readable when a child has reported."""
        return self._read_fd

    def close(self) -> None:
        """Close the pipe. Only when nobody lives any more."""
        os.close(self._read_fd)
        os.close(self._write_fd)

    def fork(self, task: Task, now: float) -> Child:
        """Start a child. OSError (EAGAIN, ENOMEM) if the system has no room for one."""
        parent_pid = os.getpid()
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, HELD_BACK)
        try:
            pid = os.fork()
            if pid == 0:
                live_and_exit(Birth(task.body, task.blank, self._write_fd, task.keep_fds, parent_pid))
            child = self._living[pid] = Child(pid, task, now)
            return child
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    def signal_all(self, number: signal.Signals) -> None:
        """Send a signal to everyone who lives. A pid here cannot be another's: it has not been waited for."""
        for pid in self._living:
            os.kill(pid, number)

    def hear(self) -> None:
        """Read what has been reported."""
        while chunk := self._read():
            *lines, self._unread = (self._unread + chunk).split(b"\n")
            for line in lines:
                self._take(line)

    def reap(self) -> list[tuple[Child, TransferRecord]]:
        """Everyone who has ended since the last time, each with a record. Never blocks."""
        ended: dict[int, int] = {}
        while (found := _wait_for_one()) is not None:
            if found[0] in self._living:  # else an orphan that the system gave us, as it does to process 1
                ended[found[0]] = found[1]
        if ended:
            self.hear()  # who has ended has reported before
        buried = [(self._living.pop(pid), status) for pid, status in ended.items()]
        return [(child, child.record or _obituary(child, status)) for child, status in buried]

    def _read(self) -> bytes:
        try:
            return os.read(self._read_fd, 1 << 16)
        except BlockingIOError:
            return b""

    def _take(self, line: bytes) -> None:
        try:
            pid, record = TransferRecord.from_line_untrusted(line)
        except ValueError:
            return  # its child will be missing a record, and that is told
        if pid in self._living:
            self._living[pid].record = record


def _wait_for_one() -> tuple[int, int] | None:
    try:
        pid, status = os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        return None
    return (pid, status) if pid else None


def _obituary(child: Child, wait_status: int) -> TransferRecord:
    code = os.waitstatus_to_exitcode(wait_status)
    if code >= 0:
        return replace(child.task.blank, result=Result.CRASHED, detail=f"ended with status {code}", status=code or 1)
    detail = f"killed by signal {-code} ({signal.strsignal(-code) or 'unknown'})"
    return replace(child.task.blank, result=Result.CRASHED, detail=detail, status=128 - code)
