"""Children that are forked and never come back into their parent's frames.

Decided here: how a child begins and ends. A fork takes a millisecond, a fresh interpreter over forty. Not known here:
what children do.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Collection, Iterator
from select import select

__all__ = ["close_all_but", "fork_child", "is_running", "quiet_fork", "reap"]


def fork_child(body: Callable[[], None]) -> int:
    """Runs `body` in a child and gives its pid. Its status is 0, or 1 if `body` raised; then stderr says why."""
    with quiet_fork():
        pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        body()
        status = 0
    except BaseException:  # noqa: BLE001 - whatever it is, this process ends here and must say why
        with contextlib.suppress(OSError):
            os.write(sys.__stderr__.fileno() if sys.__stderr__ else 2, traceback.format_exc().encode())
    finally:
        os._exit(status)


@contextlib.contextmanager
def quiet_fork() -> Iterator[None]:
    """From Python 3.12 on a fork warns when there are threads. Our children take no lock that a thread could hold."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        yield


def close_all_but(keep: Collection[int]) -> None:
    """Closes every other descriptor, so that what the parent closes is closed."""
    for descriptor in map(int, os.listdir("/proc/self/fd")):
        if descriptor not in keep:
            with contextlib.suppress(OSError):
                os.close(descriptor)


def is_running(pid: int, patience_s: float) -> bool:
    """Whether a child still runs after waiting this long for its end. It is not reaped."""
    descriptor = os.pidfd_open(pid)
    try:
        return not select([descriptor], [], [], patience_s)[0]
    finally:
        os.close(descriptor)


def reap(pid: int, patience_s: float) -> int:
    """Waits for a child that has been told to end, and kills it when its time is over; its exit status."""
    if is_running(pid, patience_s):
        os.kill(pid, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
