"""Whole reads and writes over many buffers at once, and what a failed one means for a transfer.

Decided here: that a short system call is never the caller's business (it is repeated from where it stopped), that one
call carries at most IOV_MAX buffers, and which TFTP error code an operating system error becomes. The sentences made
here go to the peer, so they never hold a path. Nothing here knows what a block is.
"""

from __future__ import annotations

import errno
import os
import select
from collections.abc import Callable, Sequence

from blockstep.protocol.errors import End, ErrorCode, TransferFailed

__all__ = ["beyond", "read_failed", "read_fully", "run_bytes", "wait_until_ready", "write_failed", "write_fully"]

IOV_MAX = os.sysconf("SC_IOV_MAX")

_WRITE_CODES = {
    errno.ENOSPC: ErrorCode.DISK_FULL,
    errno.EDQUOT: ErrorCode.DISK_FULL,
    errno.EFBIG: ErrorCode.DISK_FULL,
    errno.EACCES: ErrorCode.ACCESS_VIOLATION,
    errno.EPERM: ErrorCode.ACCESS_VIOLATION,
    errno.EROFS: ErrorCode.ACCESS_VIOLATION,
    errno.EISDIR: ErrorCode.ACCESS_VIOLATION,
    errno.EEXIST: ErrorCode.FILE_EXISTS,
}


def run_bytes(views: Sequence[memoryview]) -> int:
    """The bytes in a run of payload slots: all of one length, only the last may be shorter. No loop: once per burst."""
    return len(views[0]) * (len(views) - 1) + len(views[-1]) if views else 0


def beyond(views: Sequence[memoryview], count: int) -> list[memoryview]:
    """`views` without their first `count` bytes."""
    for index, view in enumerate(views):
        if count < len(view):
            return [view[count:], *views[index + 1 :]]
        count -= len(view)
    return []


def read_fully(read: Callable[[Sequence[memoryview], int], int], views: Sequence[memoryview]) -> int:
    """Fill a run of `views` in order and return the bytes read: fewer than they hold only where the input ends.

    `read(batch, done)` is one system call into at most IOV_MAX views, `done` bytes after the start; 0 means the end.
    """
    return _move(read, views)


def write_fully(write: Callable[[Sequence[memoryview], int], int], views: Sequence[memoryview]) -> int:
    """Write a run of `views` and return their bytes; `write(batch, done)` is one system call, as in `read_fully`."""
    done = _move(write, views)
    if done != run_bytes(views) and beyond(views, done):
        raise OSError(errno.EIO, os.strerror(errno.EIO))
    return done


def _move(call: Callable[[Sequence[memoryview], int], int], views: Sequence[memoryview]) -> int:
    """Call until all of `views` are moved, or nothing moves."""
    if not views:
        return 0
    done = moved = call(views if len(views) <= IOV_MAX else views[:IOV_MAX], 0)
    if done == run_bytes(views):  # as good as always, and adding up 64 lengths would cost a tenth of the burst
        return done
    while moved and (rest := beyond(views, done)):
        moved = call(rest[:IOV_MAX], done)
        done += moved
    return done


def wait_until_ready(fd: int, events: int) -> None:
    """Block until `fd`, made non-blocking by somebody else, has `events` (POLLIN or POLLOUT), an error or its end."""
    poller = select.poll()
    poller.register(fd, events)
    poller.poll()


def read_failed(error: OSError) -> TransferFailed:
    """What a failed read means for the transfer: End.LOCAL_READ, a code for the peer and a sentence without paths."""
    codes = {errno.ENOENT: ErrorCode.FILE_NOT_FOUND, errno.EACCES: ErrorCode.ACCESS_VIOLATION}
    code = codes.get(error.errno or 0, ErrorCode.UNDEFINED)
    return TransferFailed(End.LOCAL_READ, f"the file cannot be read: {_reason(error)}", code)


def write_failed(error: OSError) -> TransferFailed:
    """What a failed write means for the transfer: End.LOCAL_WRITE, a code for the peer, a sentence without paths."""
    code = _WRITE_CODES.get(error.errno or 0, ErrorCode.UNDEFINED)
    if code is ErrorCode.FILE_EXISTS:
        return TransferFailed(End.LOCAL_WRITE, "the file exists already", code)
    return TransferFailed(End.LOCAL_WRITE, f"the file cannot be written: {_reason(error)}", code)


def _reason(error: OSError) -> str:
    return os.strerror(error.errno).lower() if error.errno else "unknown error"
