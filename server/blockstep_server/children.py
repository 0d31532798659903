"""The living children: forked, heard, signalled and reaped here, and nowhere else.

Rules: a child is known from before the fork until it has been waited for. One that serves a single transfer leaves with
exactly one record, its own or one made here from its exit status. One that serves a connection tells a record for each
transfer while it lives, and leaves with one more only if it did not end well. A record that comes for somebody who is
not a child is dropped. No loop, no clock and no policy in here: who may have a child is decided by `admission`, when to
stop by `supervisor`.
"""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from blockstep_server.admission import Claim, Outlook, Place
from blockstep_server.board import Board, Slot
from blockstep_server.child import HELD_BACK, Birth, Body, live_and_exit
from blockstep_server.report import Result, TransferRecord

__all__ = ["Child", "Children", "Legacy", "Task", "Watcher"]

_PIPE_BYTES = 1 << 16  # what a pipe holds, so one read takes all that had been said before it


class Watcher(Protocol):
    """Somebody who wants to know whether peers exist."""

    def started(self, is_proven: Callable[[], bool]) -> None:
        """The child lives. `is_proven` says at any time whether its peer has shown that it is there."""

    def ended(self, *, proven: bool) -> None:
        """The child has been waited for."""


@dataclass(frozen=True, slots=True)
class Legacy:
    """What a child knows of its peer's next request: the datagram, b"" if it has not seen it, and what came before."""

    request_untrusted: bytes = b""
    outlook: Outlook = field(default_factory=Outlook)


@dataclass(frozen=True, slots=True)
class Task:
    """One piece of work for one child: its place, its body, its blank record, the descriptors that it needs.

    `watcher` hears of its start and its end. `is_connection`: it serves transfers one after another and may wait for
    the next. `afterwards` is called when its place is free again.
    """

    claim: Claim
    body: Body
    blank: TransferRecord
    keep_fds: tuple[int, ...] = ()
    is_connection: bool = False
    watcher: Watcher | None = None
    afterwards: Callable[[Legacy], object] = lambda _: None


@dataclass(slots=True)
class Child:
    """A child and what is known about it.

    `record` is what it reported last, None before. `ended`: it has been waited for, and its pid may be another's.
    `legacy` is what it has left to the listener.
    """

    pid: int
    task: Task
    started_s: float
    slot: Slot | None = None
    place: Place | None = None
    record: TransferRecord | None = None
    ended: bool = False
    legacy: Legacy = field(default_factory=Legacy)

    def outlook(self) -> Outlook:
        """How far it is with its transfer, as far as that can be known."""
        return Outlook() if self.slot is None else Outlook(self.slot.settled, self.slot.heard_ns)

    def is_proven(self) -> bool:
        """Whether its peer has shown that it is there; False where that cannot be known."""
        return self.slot is not None and self.slot.proven

    @property
    def waits(self) -> bool:
        """True for a living connection on which nothing is under way."""
        return self.task.is_connection and not self.ended and self.slot is not None and self.slot.idle


class Children:
    """The children of one supervisor and the pipe on which they report.

    `on_record` is called with what a connection tells while it lives, from `hear` and `reap`; `orphaned` in a child,
    with what it would have told if this process still lived. `board_slots`: how many can be watched at the same time.
    """

    def __init__(
        self,
        on_record: Callable[[Child, TransferRecord], object] = lambda *_: None,
        *,
        orphaned: Callable[[TransferRecord], object] = lambda _: None,
        board_slots: int = 1024,
    ) -> None:
        self._on_record = on_record
        self._orphaned = orphaned
        self._board = Board(board_slots)
        self._living: dict[int, Child] = {}
        self._unread = b""
        self._read_fd, self._write_fd = os.pipe()
        os.set_blocking(self._read_fd, False)

    def __len__(self) -> int:
        return len(self._living)

    def __iter__(self) -> Iterator[Child]:
        return iter(list(self._living.values()))

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
        slot = self._board.maybe_take()
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, HELD_BACK)
        try:
            pid = os.fork()
            if pid == 0:
                live_and_exit(self._birth(task, slot, parent_pid))
            child = self._living[pid] = Child(pid, task, now, slot)
            if task.watcher is not None:
                task.watcher.started(child.is_proven)
            return child
        except OSError:
            self._board.give_back(slot)
            raise
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    def _birth(self, task: Task, slot: Slot | None, parent_pid: int) -> Birth:
        return Birth(task.body, task.blank, self._write_fd, slot, task.keep_fds, parent_pid, self._orphaned)

    def signal_all(self, number: signal.Signals) -> None:
        """Send a signal to everyone who lives. A pid here cannot be another's: it has not been waited for."""
        for pid in self._living:
            os.kill(pid, number)

    def hear(self) -> None:
        """Read what has been reported, up to what the pipe can hold; the loop calls again while there is more."""
        *lines, rest = (self._unread + self._read()).split(b"\n")
        self._unread = rest if len(rest) < select.PIPE_BUF else b""  # no line of a child is that long
        for line in lines:
            self._take(line)

    def reap(self) -> list[tuple[Child, TransferRecord | None]]:
        """Everyone who has ended since the last time, each with what is left to tell. Never blocks."""
        ended: dict[int, int] = {}
        while (found := _wait_for_one()) is not None:
            if found[0] in self._living:  # else an orphan that the system gave us, as it does to process 1
                ended[found[0]] = found[1]
                self._living[found[0]].ended = True
        if ended:
            self.hear()  # who has ended has reported before
        buried = [(self._living.pop(pid), status) for pid, status in ended.items()]
        for child, _ in buried:
            if child.task.watcher is not None:
                child.task.watcher.ended(proven=child.is_proven())
            if child.slot is not None:
                child.legacy = Legacy(child.slot.left, child.outlook())
            self._board.give_back(child.slot)
        return [(child, _maybe_last_words(child, status)) for child, status in buried]

    def _read(self) -> bytes:
        try:
            return os.read(self._read_fd, _PIPE_BYTES)
        except BlockingIOError:
            return b""

    def _take(self, line: bytes) -> None:
        try:
            pid, record = TransferRecord.from_line_untrusted(line)
        except ValueError:
            return  # its child will be missing a record, and that is told
        child = self._living.get(pid)
        if child is None:
            return
        child.record = record
        if child.task.is_connection:
            self._on_record(child, record)


def _wait_for_one() -> tuple[int, int] | None:
    try:
        pid, status = os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        return None
    return (pid, status) if pid else None


def _maybe_last_words(child: Child, wait_status: int) -> TransferRecord | None:
    """What is left to tell of a child: its record, or that it has none; nothing of a connection that told all."""
    code = os.waitstatus_to_exitcode(wait_status)
    if not child.task.is_connection:
        return child.record or _obituary(child, code)
    told_all = code == 0 or (child.record is not None and code == child.record.status)
    return None if told_all else _obituary(child, code)


def _obituary(child: Child, code: int) -> TransferRecord:
    known = replace(child.task.blank, **_last_work(child), result=Result.CRASHED)
    if code >= 0:
        return replace(known, detail=f"ended with status {code}", status=code or 1)
    detail = f"killed by signal {-code} ({signal.strsignal(-code) or 'unknown'})"
    return replace(known, detail=detail, status=128 - code)


def _last_work(child: Child) -> dict[str, Any]:
    """What it was about, from its slot of the board: the child's words, so only texts are taken."""
    live = child.slot.maybe_live() if child.slot is not None else None
    facts = live.facts if live is not None else {}
    return {name: value for name in ("op", "file", "mode") if isinstance(value := facts.get(name), str)}
