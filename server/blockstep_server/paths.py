"""From a name that came over the network to an open file below the root, or to an answer that says why not.

The rules of names: UTF-8 with any other byte kept; a backslash is a slash; slashes at the start are dropped, because
the root is the client's `/`; empty components and `.` are dropped; `..`, NUL and components over 255 bytes are refused;
names of our own temporaries do not exist. Everything else is for the kernel to say: the path is opened by descriptors
below the root (openat2 with RESOLVE_BENEATH), so a symbolic link counts only while it stays inside, and nothing is
ever decided by comparing path strings. Where openat2 is missing, the walk goes component by component and no link is
followed at all. Absolute links are refused in either case.

Only regular files: what a name leads to is looked at without being opened (O_PATH) and opened afterwards through that
very descriptor, so a FIFO or a device swapped in between is never opened.

Every refusal is a RemoteError whose text says nothing about where the root is. Not known here: transfers, options,
and whether uploads are allowed (that is `upload_policy`).
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from types import TracebackType
from typing import NoReturn, Self

from blockstep.protocol.errors import ErrorCode, LocalError, RemoteError
from blockstep.transport.atomic import HIDDEN_PREFIX
from blockstep_server import openat2

__all__ = ["Root", "components_of_untrusted"]

_COMPONENT_MAX_BYTES = 255
_NAME_MAX_BYTES = 4095  # PATH_MAX less its NUL; a request is shorter anyway
_RACE_RETRIES = 16
_READ_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC

_REFUSALS = {
    errno.ENOENT: (ErrorCode.FILE_NOT_FOUND, "file not found"),
    errno.ENOTDIR: (ErrorCode.FILE_NOT_FOUND, "file not found"),
    errno.EACCES: (ErrorCode.ACCESS_VIOLATION, "permission denied"),
    errno.EPERM: (ErrorCode.ACCESS_VIOLATION, "permission denied"),
    errno.EXDEV: (ErrorCode.ACCESS_VIOLATION, "the name leads out of the served directory"),
    errno.ELOOP: (ErrorCode.ACCESS_VIOLATION, "the name is a symbolic link that is not followed"),
    errno.ENAMETOOLONG: (ErrorCode.ACCESS_VIOLATION, "the file name is too long"),
}
_OUT_OF_ORDER = (ErrorCode.UNDEFINED, "the server cannot open files now")


def components_of_untrusted(name_untrusted: str) -> list[bytes]:
    """The components of a name as it came over the wire (UTF-8 with surrogateescape), at least one.

    Raises RemoteError (ACCESS_VIOLATION, or FILE_NOT_FOUND for our own temporaries).
    """
    try:
        raw = name_untrusted.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise RemoteError(ErrorCode.ACCESS_VIOLATION, "the file name is not a name") from None
    if b"\0" in raw:
        raise RemoteError(ErrorCode.ACCESS_VIOLATION, "the file name has a NUL in it")
    parts = [part for part in raw.replace(b"\\", b"/").split(b"/") if part not in {b"", b"."}]
    if not parts:
        raise RemoteError(ErrorCode.ACCESS_VIOLATION, "the name is not that of a file")
    if len(raw) > _NAME_MAX_BYTES:
        raise RemoteError(*_REFUSALS[errno.ENAMETOOLONG])
    for part in parts:
        _check_component(part)
    return parts


def _check_component(part: bytes) -> None:
    if part == b"..":
        raise RemoteError(ErrorCode.ACCESS_VIOLATION, "'..' is not allowed in a file name")
    if len(part) > _COMPONENT_MAX_BYTES:
        raise RemoteError(*_REFUSALS[errno.ENAMETOOLONG])
    if part.lower().startswith(HIDDEN_PREFIX.encode()):
        raise RemoteError(*_REFUSALS[errno.ENOENT])


class Root:
    """The directory below which everything is. Opened once; what is renamed or mounted over its path later is moot.

    `use_openat2` None means: if the kernel has it. Raises LocalError when the directory cannot be opened, with a
    sentence for who started the server.
    """

    def __init__(self, path: str | os.PathLike[str], *, use_openat2: bool | None = None) -> None:
        try:
            self._fd = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise LocalError(f"cannot serve {os.fspath(path)!r}: {error.strerror}") from None
        self.path = Path(path)
        self.uses_openat2 = openat2.is_available(self._fd) if use_openat2 is None else use_openat2

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def fileno(self) -> int:
        """The O_PATH descriptor of the directory, for a sweep or a sandbox rule; it stays the root's."""
        return self._fd

    def close(self) -> None:
        """Let go of the directory; may be called twice."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def open_for_reading(self, name_untrusted: str) -> tuple[int, os.stat_result]:
        """A descriptor, which is the caller's, of the regular file that the name leads to, and its status.

        Raises RemoteError: FILE_NOT_FOUND, ACCESS_VIOLATION (no right to read, a directory, not a regular file, a bad
        name, out of the root) or UNDEFINED when the server is out of descriptors or the disk fails.
        """
        parts = components_of_untrusted(name_untrusted)
        try:
            seen_fd = self._look_up(parts)
            try:
                return self._reopen(seen_fd, parts)
            finally:
                os.close(seen_fd)
        except OSError as error:
            _refuse(error)

    def open_parent_for_writing(self, name_untrusted: str) -> tuple[int, str]:
        """An O_PATH descriptor, which is the caller's, of the directory that the name is in, and the last component.

        The name is free there or belongs to a regular file, though that may change until the caller acts: it must
        create by O_EXCL, link or rename, none of which follow a link. Directories are never made. Raises RemoteError
        as `open_for_reading` does.
        """
        parts = components_of_untrusted(name_untrusted)
        name = os.fsdecode(parts[-1])
        try:
            dir_fd = self._look_up_folder(parts[:-1])
        except OSError as error:
            _refuse(error, missing="the directory does not exist")
        try:
            _check_target(dir_fd, name)
        except OSError as error:
            os.close(dir_fd)
            _refuse(error)
        except RemoteError:
            os.close(dir_fd)
            raise
        return dir_fd, name

    def _look_up(self, parts: list[bytes]) -> int:
        """An O_PATH descriptor for what the name leads to, of whatever kind."""
        return self._open_beneath(parts, os.O_PATH) if self.uses_openat2 else self._walk(parts)

    def _look_up_folder(self, parts: list[bytes]) -> int:
        if not parts:
            return os.dup(self._fd)
        if self.uses_openat2:
            return self._open_beneath(parts, os.O_PATH | os.O_DIRECTORY)
        # ".": a last component that is no directory fails with ENOTDIR here as well.
        return self._walk([*parts, b"."])

    def _open_beneath(self, parts: list[bytes], flags: int) -> int:
        path = b"/".join(parts)
        for _ in range(_RACE_RETRIES):
            try:
                return openat2.open_beneath(self._fd, path, flags)
            except BlockingIOError:
                continue  # somebody renames below the root while a link with `..` is followed
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

    def _walk(self, parts: list[bytes]) -> int:
        """The same without openat2: one component at a time, and a link anywhere is the end (ELOOP)."""
        fd = os.dup(self._fd)
        for part in parts:
            try:
                below = os.open(part, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=fd)
            finally:
                os.close(fd)
            fd = below
            if stat.S_ISLNK(os.fstat(fd).st_mode):
                os.close(fd)
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        return fd

    def _reopen(self, seen_fd: int, parts: list[bytes]) -> tuple[int, os.stat_result]:
        seen = os.fstat(seen_fd)
        _must_be_regular(seen)
        try:
            fd = os.open(f"/proc/self/fd/{seen_fd}", _READ_FLAGS)
        except FileNotFoundError:
            fd = self._open_again_by_name(parts)
        status = os.fstat(fd)
        if os.path.samestat(seen, status):
            return fd, status
        os.close(fd)
        raise RemoteError(*_OUT_OF_ORDER)

    def _open_again_by_name(self, parts: list[bytes]) -> int:
        """For where there is no /proc. Non-blocking, so even a FIFO swapped in at this moment does not hold us up."""
        if self.uses_openat2:
            return self._open_beneath(parts, _READ_FLAGS)
        folder_fd = self._look_up_folder(parts[:-1])
        try:
            return os.open(parts[-1], _READ_FLAGS | os.O_NOFOLLOW, dir_fd=folder_fd)
        finally:
            os.close(folder_fd)


def _check_target(dir_fd: int, name: str) -> None:
    try:
        _must_be_regular(os.stat(name, dir_fd=dir_fd, follow_symlinks=False))
    except FileNotFoundError:
        return


def _must_be_regular(status: os.stat_result) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise RemoteError(ErrorCode.ACCESS_VIOLATION, "it is a directory")
    if not stat.S_ISREG(status.st_mode):
        raise RemoteError(ErrorCode.ACCESS_VIOLATION, "it is not a regular file")


def _refuse(error: OSError, missing: str | None = None) -> NoReturn:
    code, text = _REFUSALS.get(error.errno or 0, _OUT_OF_ORDER)
    if missing is not None and code is ErrorCode.FILE_NOT_FOUND:
        text = missing
    raise RemoteError(code, text) from None
