"""Sockets with a name in the file system: made with the right permissions from the start, and removed at the end.

Rules: a path on which somebody listens is left alone and an error; one that a dead server has left behind is replaced;
anything else of that name is left alone and an error. What is removed is what was made: not another server's socket
that has taken the place meanwhile.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
import struct
from collections.abc import Iterator
from pathlib import Path

from blockstep_server.listen import CannotBind

__all__ = ["bound_unix", "peer_credentials"]

_UCRED = struct.Struct("@iII")


@contextlib.contextmanager
def bound_unix(path: Path, *, mode: int, backlog: int) -> Iterator[socket.socket]:
    """A listening, non-blocking stream socket at `path` with the permissions `mode`. Raises CannotBind."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with contextlib.closing(sock):
        _bind(sock, path, mode)
        made = _identity(path)
        try:
            sock.listen(backlog)
            sock.setblocking(False)
            yield sock
        finally:
            with contextlib.suppress(OSError):  # after --user the directory may no longer be ours to change
                if _identity(path) == made:
                    path.unlink()


def _bind(sock: socket.socket, path: Path, mode: int) -> None:
    before = os.umask(0o777 & ~mode)  # not chmod afterwards: until then others could have connected
    try:
        _make_room(path)
        sock.bind(str(path))
    except OSError as error:
        raise CannotBind(_why(path, error)) from error
    finally:
        os.umask(before)


def _why(path: Path, error: OSError) -> str:
    what = f"cannot listen on {path} (unix): {error.strerror or error}"
    if error.errno == errno.ENOENT:
        return f"{what}\nIts directory has to be there first"
    if error.errno == errno.EADDRINUSE:
        return f"{what}\nAnother server has it: `ss -lxp` shows which. Stop that one, or choose another path"
    return what


def _make_room(path: Path) -> None:
    """Remove the socket of a server that is no more. OSError if the path is taken otherwise."""
    try:
        kind = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(kind):
        raise OSError(errno.EEXIST, "there is a file of that name, and it is no socket")
    if _somebody_listens(path):
        raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
    path.unlink()


def _somebody_listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        found = probe.connect_ex(str(path))
    return found != errno.ECONNREFUSED  # EAGAIN: somebody whose queue is full; EACCES: not ours to replace


def _identity(path: Path) -> tuple[int, int]:
    status = os.lstat(path)
    return status.st_dev, status.st_ino


def peer_credentials(sock: socket.socket) -> tuple[int, int]:
    """(process id, user id) of whoever connected, as the kernel knows them; (0, -1) where it does not say."""
    if not hasattr(socket, "SO_PEERCRED"):
        return 0, -1
    pid, uid, _gid = _UCRED.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
    return pid, uid
