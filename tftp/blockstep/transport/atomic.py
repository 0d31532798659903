"""A file that exists complete or not at all.

Decided here: how received bytes come to stand under a name. They go to an unnamed file in the same directory
(O_TMPFILE), are synced, and get the name in one step; kill -9 at any moment leaves the old content or the new one under
the name, and the kernel frees the unnamed file. Only between two system calls of a replacement does a hidden link
`.blockstep-<16 hex>.part` exist, and where the file system has no O_TMPFILE the whole transfer goes to such a name. Its
writer holds a lock (flock) on it for as long as it lives, so `sweep_leftovers` can tell a dead one from a live one.

Not known here: TFTP, sockets, and whether somebody may write at all. `dir_fd` has been checked by who opened it.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import re
import secrets
import stat
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import NoReturn, Self

from blockstep.protocol.errors import End, ErrorCode, LocalError, TransferFailed
from blockstep.transport.vectored import run_bytes, write_failed, write_fully

__all__ = ["HIDDEN_PREFIX", "AtomicFileSink", "sweep_leftovers"]

HIDDEN_PREFIX = ".blockstep-"
_HIDDEN_NAME = re.compile(re.escape(HIDDEN_PREFIX) + r"[0-9a-f]{16}\.part")

# Kernels and file systems without O_TMPFILE answer with one of these.
_NO_TMPFILE = {errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOENT, errno.ENOSYS}
_NO_HARD_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}
_NO_LOCKS = {errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}


class AtomicFileSink:
    """Received bytes that become the file `name` in the directory `dir_fd`, all at once, by `commit`.

    The sink opens the directory anew, so the caller keeps (and closes) `dir_fd`, which may be an O_PATH descriptor.
    `replace` says whether a file that is there may go; it must be a regular file that we may write, and its permission
    bits stay. Without it the name must be free when the sink is made and when it is committed. A new file gets `mode`
    less the umask. `expected_bytes` (tsize) is compared with the room on the disk at once, and with `max_bytes`.

    Raises TransferFailed (End.LOCAL_WRITE) from every method but `abort`: DISK_FULL (3) for no room or more than
    `max_bytes`, FILE_EXISTS (6), ACCESS_VIOLATION (2) for what may not be written, UNDEFINED (0) else. After an error
    the sink is aborted. Used as a context manager it is aborted at the end unless it was committed.
    """

    def __init__(
        self,
        dir_fd: int,
        name: str,
        *,
        replace: bool,
        mode: int = 0o666,
        expected_bytes: int | None = None,
        max_bytes: int | None = None,
    ) -> None:
        self._name = name
        self._replace = replace
        self._max_bytes = max_bytes
        # Known before it is made: a signal handler may raise right after the system call that makes it.
        self._part: str | None = None
        self._fd = -1
        self.bytes_written = 0
        try:
            self._dir_fd, self._dir_can_sync = _open_directory(dir_fd)
        except OSError as error:
            raise write_failed(error) from None
        try:
            self._open(mode, expected_bytes)
        except OSError as error:
            self._fail(error)
        except BaseException:
            self.abort()
            raise

    @classmethod
    def at(
        cls, path: Path, *, replace: bool = True, expected_bytes: int | None = None, max_bytes: int | None = None
    ) -> Self:
        """The sink for a path that the user gave. A symbolic link stays and the file it points to is replaced."""
        real = os.path.realpath(path)
        try:
            dir_fd = os.open(os.path.dirname(real), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise write_failed(error) from None
        try:
            name = os.path.basename(real)
            return cls(dir_fd, name, replace=replace, expected_bytes=expected_bytes, max_bytes=max_bytes)
        finally:
            os.close(dir_fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.abort()

    @property
    def directory_fd(self) -> int:
        """The descriptor of the directory in which the name will be, for a sandbox rule; it stays the sink's."""
        return self._dir_fd

    def writev(self, views: Sequence[memoryview]) -> None:
        """Append all of `views`."""
        self._must_be_open()
        if self._max_bytes is not None:
            self._must_fit(self.bytes_written + run_bytes(views))
        try:
            self.bytes_written += write_fully(self._write, views)
        except OSError as error:
            self._fail(error)

    def commit(self) -> None:
        """Sync the bytes, give them their name in one step, sync the directory. All is on disk when this returns."""
        self._must_be_open()
        try:
            self._sync_file()
            self._publish()
            self._sync_directory()
        except OSError as error:
            self._fail(error)
        self._let_go()

    def abort(self) -> None:
        """Leave nothing behind. Does nothing after `commit` or another `abort`; never raises OSError."""
        self._let_go()

    def _let_go(self) -> None:
        if self._part is not None:
            _unlink_quietly(self._part, self._dir_fd)
            self._part = None
        for fd in (self._fd, self._dir_fd):
            if fd >= 0:
                os.close(fd)
        self._fd = self._dir_fd = -1

    # The steps of opening.

    def _open(self, mode: int, expected_bytes: int | None) -> None:
        old_mode = self._check_target()
        if expected_bytes is not None:
            self._must_fit(expected_bytes)
            self._must_have_room(expected_bytes)
        create_mode = mode if old_mode is None else old_mode
        self._fd = self._open_unnamed(create_mode)
        if self._fd < 0:
            self._fd = self._open_hidden(create_mode)
        if old_mode is not None:
            os.fchmod(self._fd, old_mode)

    def _check_target(self) -> int | None:
        """The permission bits of the file that will be replaced, None if the name is free."""
        try:
            old = os.stat(self._name, dir_fd=self._dir_fd, follow_symlinks=False)
        except FileNotFoundError:
            return None
        if not stat.S_ISREG(old.st_mode):
            raise _refused(ErrorCode.ACCESS_VIOLATION, "the name belongs to something that is not a regular file")
        if not self._replace:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
        # A rename would not ask, but who made a file read-only did not mean "unless it comes from the network".
        if not os.access(self._name, os.W_OK, dir_fd=self._dir_fd, effective_ids=True):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return stat.S_IMODE(old.st_mode) & 0o777

    def _must_fit(self, size_bytes: int) -> None:
        if self._max_bytes is not None and size_bytes > self._max_bytes:
            self.abort()
            raise _refused(ErrorCode.DISK_FULL, f"the file is larger than the {self._max_bytes} bytes that are allowed")

    def _must_have_room(self, size_bytes: int) -> None:
        room = os.fstatvfs(self._dir_fd)
        free_blocks = room.f_bfree if os.geteuid() == 0 else room.f_bavail
        if room.f_blocks and size_bytes > free_blocks * room.f_frsize:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _open_unnamed(self, mode: int) -> int:
        """A locked file without a name, or -1 where that is not to be had. Naming it needs /proc."""
        flag = getattr(os, "O_TMPFILE", 0)
        if not flag or not os.path.isdir("/proc/self/fd"):
            return -1
        try:
            fd = os.open(".", flag | os.O_RDWR | os.O_CLOEXEC, mode, dir_fd=self._dir_fd)
        except OSError as error:
            if error.errno in _NO_TMPFILE:
                return -1
            raise
        _lock(fd)
        return fd

    def _open_hidden(self, mode: int) -> int:
        """A locked file under a hidden name. A sweep may be faster than our lock; then another name is taken."""
        while True:
            self._part = _hidden_name()
            fd = os.open(self._part, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode, dir_fd=self._dir_fd)
            if _lock(fd) and os.fstat(fd).st_nlink:
                return fd
            os.close(fd)

    # The steps of a commit, each one system call, so that a test can die between any two of them.

    def _sync_file(self) -> None:
        os.fsync(self._fd)

    def _publish(self) -> None:
        if self._part is None and not self._link_as(self._name):
            self._link_hidden()
        if self._part is not None:
            self._rename_part()

    def _link_as(self, name: str) -> bool:
        """Give the unnamed file its name; False if a file is there that may be replaced."""
        try:
            os.link(f"/proc/self/fd/{self._fd}", name, dst_dir_fd=self._dir_fd, follow_symlinks=True)
        except FileExistsError:
            if self._replace:
                return False
            raise
        return True

    def _link_hidden(self) -> None:
        self._part = _hidden_name()
        os.link(f"/proc/self/fd/{self._fd}", self._part, dst_dir_fd=self._dir_fd, follow_symlinks=True)

    def _rename_part(self) -> None:
        assert self._part is not None
        if self._replace:
            os.rename(self._part, self._name, src_dir_fd=self._dir_fd, dst_dir_fd=self._dir_fd)
            self._part = None
            return
        try:
            os.link(self._part, self._name, src_dir_fd=self._dir_fd, dst_dir_fd=self._dir_fd, follow_symlinks=False)
        except OSError as error:
            if error.errno not in _NO_HARD_LINKS:
                raise
            _rename_to_free_name(self._part, self._name, self._dir_fd)
            self._part = None

    def _sync_directory(self) -> None:
        if not self._dir_can_sync:
            # A directory that we may write but not read cannot be opened for a sync. The journalling file systems
            # write the names of a file with the file.
            os.fsync(self._fd)
            return
        try:
            os.fsync(self._dir_fd)
        except OSError as error:
            if error.errno != errno.EINVAL:  # file systems that cannot sync a directory say so with EINVAL
                raise

    def _write(self, batch: Sequence[memoryview], done: int) -> int:
        return os.pwritev(self._fd, batch, self.bytes_written + done)

    def _must_be_open(self) -> None:
        if self._fd < 0:
            raise LocalError("the sink was committed or aborted before")

    def _fail(self, error: OSError) -> NoReturn:
        self.abort()
        raise write_failed(error) from None


def sweep_leftovers(dir_fd: int, *, max_depth: int = 64) -> int:
    """Remove the hidden files of dead writers in the directory and below it; return how many went.

    Symbolic links are not followed. What cannot be opened or removed stays, and is tried again at the next sweep.
    """
    try:
        own_fd = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=dir_fd)
    except OSError:
        return 0
    try:
        hidden, folders = _scan(own_fd)
        removed = sum(_remove_if_dead(name, own_fd) for name in hidden)
        if max_depth:
            removed += sum(_sweep_below(name, own_fd, max_depth - 1) for name in folders)
        return removed
    finally:
        os.close(own_fd)


def _scan(dir_fd: int) -> tuple[list[str], list[str]]:
    hidden, folders = [], []
    with os.scandir(dir_fd) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                folders.append(entry.name)
            elif _HIDDEN_NAME.fullmatch(entry.name) and entry.is_file(follow_symlinks=False):
                hidden.append(entry.name)
    return hidden, folders


def _sweep_below(name: str, dir_fd: int, max_depth: int) -> int:
    try:
        below = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=dir_fd)
    except OSError:
        return 0
    try:
        return sweep_leftovers(below, max_depth=max_depth)
    finally:
        os.close(below)


def _remove_if_dead(name: str, dir_fd: int) -> bool:
    try:
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=dir_fd)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        os.unlink(name, dir_fd=dir_fd)
    except OSError:
        return False
    finally:
        os.close(fd)
    return True


def _hidden_name() -> str:
    return f"{HIDDEN_PREFIX}{secrets.token_hex(8)}.part"


def _open_directory(dir_fd: int) -> tuple[int, bool]:
    """Our own descriptor for the directory, and whether it can be synced (that takes the right to read it)."""
    try:
        return os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=dir_fd), True
    except PermissionError:
        return os.dup(dir_fd), False


def _lock(fd: int) -> bool:
    """Mark the file as one with a living writer; False if a sweep holds it. Without locks a sweep removes nothing."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
    return True


def _rename_to_free_name(old: str, new: str, dir_fd: int) -> None:
    """rename(2) that fails with EEXIST instead of replacing; for file systems without hard links."""
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    no_replace = 1
    if rename(dir_fd, os.fsencode(old), dir_fd, os.fsencode(new), no_replace):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def _unlink_quietly(name: str, dir_fd: int) -> None:
    # Where it fails the directory is gone or read-only; a later sweep finds what is left.
    with contextlib.suppress(OSError):
        os.unlink(name, dir_fd=dir_fd)


def _refused(code: ErrorCode, detail: str) -> TransferFailed:
    return TransferFailed(End.LOCAL_WRITE, detail, code)
