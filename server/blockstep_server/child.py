"""The forked child: one transfer or one connection, its records, one exit status; it never returns into the parent's
frames.

Rules: it comes to life with the signals of a stop held back; it closes every descriptor that is not its own before
anything else; SIGTERM ends the transfer at its next step (`TransferFailed` with End.STOPPED, so that the peer is told
and half a file is taken back), SIGINT and SIGHUP of a terminal are for the supervisor to deal with; it dies with its
parent. Whatever goes wrong ends in `os._exit`.

Most of what a short transfer costs is memory that is copied when the child first touches it, about a tenth of a
millisecond for thirty pages. So what can be prepared by the parent is: the signal handlers are the parent's.
"""

from __future__ import annotations

import contextlib
import os
import signal
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from types import FrameType
from typing import NoReturn

from blockstep.protocol.errors import End, TransferFailed
from blockstep_server import kernel
from blockstep_server.board import Slot
from blockstep_server.report import Result, TransferRecord
from blockstep_server.telling import Telling

__all__ = ["HANDLERS", "HELD_BACK", "Birth", "Body", "close_all_but", "live_and_exit", "uninterrupted"]

Body = Callable[[Telling], TransferRecord | None]
"""The work of a child: it returns what there is left to tell. It should not raise: what it raises is a crash."""

HELD_BACK = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD})
"""The signals that the parent blocks around the fork: none may meet a child that still has the parent's handlers."""


class _Stop:
    """The handler of SIGTERM. Nothing happens in the parent; in a child it ends the transfer, once."""

    def __init__(self) -> None:
        self.armed = False

    def __call__(self, _number: int, _frame: FrameType | None) -> None:
        if self.armed:
            self.armed = False  # what follows is the clean-up
            raise TransferFailed(End.STOPPED, "the server is stopping")


def _do_nothing(_number: int, _frame: FrameType | None) -> None:
    """The byte on the wake-up descriptor has said it all; a child has none and goes on."""


_STOP = _Stop()
HANDLERS = {number: _STOP if number == signal.SIGTERM else _do_nothing for number in HELD_BACK}
"""What the parent installs, for itself and for its children."""

_CRASHED = 70  # EX_SOFTWARE of sysexits.h


@dataclass(frozen=True, slots=True)
class Birth:
    """What a child is given.

    Its work, what to report if the work cannot, the pipe to report on, its slot of the board, what to keep open.
    `orphaned` gets a record that nobody is left to take at the other end of the pipe.
    """

    body: Body
    blank: TransferRecord
    report_fd: int
    slot: Slot | None
    keep_fds: tuple[int, ...]
    parent_pid: int
    orphaned: Callable[[TransferRecord], object]

    def tell(self, record: TransferRecord) -> None:
        """Report to the supervisor."""
        try:
            os.write(self.report_fd, record.to_line(os.getpid()))
        except BrokenPipeError:  # it was killed: what became of the transfer is told all the same
            self.orphaned(record)


def live_and_exit(birth: Birth) -> NoReturn:
    """Everything a child does. Called with HELD_BACK blocked, right after the fork."""
    status = _CRASHED
    try:
        close_all_but({0, 1, 2, birth.report_fd, *birth.keep_fds})
        telling = Telling(birth.tell, birth.slot)
        record = _run(birth, telling)
        status = 0
        if record is not None:
            telling.ended(record)
            status = record.status
    except BaseException:  # noqa: BLE001 - nothing may get past this frame
        _say_traceback()
    finally:
        os._exit(status & 0xFF)


def _run(birth: Birth, telling: Telling) -> TransferRecord | None:
    try:
        _take_over_signals(birth.parent_pid)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, HELD_BACK)
        return birth.body(telling)
    except TransferFailed as failure:  # stopped before the work had begun
        return replace(birth.blank, result=Result.FAILED, detail=failure.detail)
    except Exception as error:  # noqa: BLE001 - a crash is reported, not passed on
        _say_traceback()
        return replace(birth.blank, result=Result.CRASHED, detail=f"{type(error).__name__}: {error}", status=_CRASHED)
    finally:
        signal.pthread_sigmask(signal.SIG_BLOCK, HELD_BACK)  # the record is written whole or not at all


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Within it the signals of a stop wait, so that what is told is told once and whole. They act at its end."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, HELD_BACK)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _take_over_signals(parent_pid: int) -> None:
    signal.set_wakeup_fd(-1)
    _STOP.armed = True
    kernel.die_with_parent(signal.SIGTERM)
    if os.getppid() != parent_pid:  # it ended before the kernel knew that we care
        raise TransferFailed(End.STOPPED, "the server has ended")


def close_all_but(keep: Iterable[int]) -> None:
    """Close every descriptor of this process that is not in `keep`."""
    start = 0
    for fd in sorted(set(keep)):
        if start < fd:
            os.closerange(start, fd)
        start = fd + 1
    os.closerange(start, os.sysconf("SC_OPEN_MAX"))


def _say_traceback() -> None:
    with contextlib.suppress(Exception):  # nobody listens, or the source may not be read; the exit status says it
        os.write(2, traceback.format_exc().encode(errors="replace"))
