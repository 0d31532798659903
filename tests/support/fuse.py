"""The kernel's side of a file system in this process: the words of /dev/fuse (linux/fuse.h, protocol 7.31).

Decided here: how a request is read, how an answer is packed, and how the mount is made in a mount namespace of its own,
so that it ends with the test. What the answers are is the file system's: `fault_fs`. No library is needed, and an
ordinary user can do it in a user namespace.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import socket
import stat
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from functools import cache
from pathlib import Path
from typing import Self

from blockstep_lab.netns.forked import close_all_but, fork_child, reap
from blockstep_lab.netns.namespaces import LabUnavailable, enter_user_namespace
from blockstep_lab.netns.syscalls import CLONE_NEWNS, CLONE_NEWUSER, make_mounts_private, setns, unshare

__all__ = [
    "ROOT_NODE",
    "Attributes",
    "Op",
    "Request",
    "enter_mount",
    "mounted",
    "mounting_obstacle",
    "pack_attributes",
    "pack_entry",
    "pack_init",
    "pack_listing",
    "pack_opened",
    "pack_room",
]

ROOT_NODE = 1
MAX_WRITE = 1 << 17
_PATIENCE_S = 10.0
_MS_RDONLY = 1
_PR_SET_DUMPABLE = 4


class Op(IntEnum):
    """What the kernel may ask. What is not listed is answered with ENOSYS, which it takes for "not here"."""

    LOOKUP = 1
    FORGET = 2
    GETATTR = 3
    SETATTR = 4
    UNLINK = 10
    RENAME = 12
    LINK = 13
    OPEN = 14
    READ = 15
    WRITE = 16
    STATFS = 17
    RELEASE = 18
    FSYNC = 20
    INIT = 26
    OPENDIR = 27
    READDIR = 28
    RELEASEDIR = 29
    FSYNCDIR = 30
    CREATE = 35
    INTERRUPT = 36
    BATCH_FORGET = 42
    RENAME2 = 45
    TMPFILE = 51


NO_ANSWER = frozenset({Op.FORGET, Op.BATCH_FORGET, Op.INTERRUPT})
_HEAD = struct.Struct("<IIQQIIIHH")
_ANSWER = struct.Struct("<IiQ")
_ATTRIBUTES = struct.Struct("<6Q10I")


@dataclass(frozen=True, slots=True)
class Request:
    """One request: what to do, to which node, for which process, and what else was said."""

    op: int
    number: int
    node: int
    pid: int
    body: bytes

    @classmethod
    def parse(cls, message: bytes) -> Self:
        """From the bytes of one read."""
        _length, op, number, node, _uid, _gid, pid, _extra, _padding = _HEAD.unpack_from(message)
        return cls(op, number, node, pid, message[_HEAD.size :])

    def words(self, layout: str) -> tuple[int, ...]:
        """The numbers at the start of the body."""
        return struct.unpack_from("<" + layout, self.body)

    def names(self, skip: int = 0) -> list[str]:
        """The names in the body after `skip` bytes."""
        return [os.fsdecode(name) for name in self.body[skip:].split(b"\0")[:-1]]

    def answer(self, fd: int, body: bytes = b"", *, error: int = 0) -> None:
        """Answer it. That the process has died or the mount has gone meanwhile is no matter."""
        if self.op in NO_ANSWER:
            return
        with contextlib.suppress(OSError):
            os.write(fd, _ANSWER.pack(_ANSWER.size + len(body), -error, self.number) + body)


@dataclass(frozen=True, slots=True)
class Attributes:
    """What `stat` shows of a node."""

    node: int
    mode: int
    size: int = 0
    links: int = 1
    time_s: int = 0

    def pack(self) -> bytes:
        """As struct fuse_attr."""
        blocks = (self.size + 511) // 512
        times = (self.time_s,) * 3
        return _ATTRIBUTES.pack(
            self.node, self.size, blocks, *times, 0, 0, 0, self.mode, self.links, os.geteuid(), os.getegid(), 0, 4096, 0
        )


def pack_init() -> bytes:
    """The answer to INIT: nothing is cached for writing, so what a process has written, the file system has."""
    return struct.pack("<IIIIHHIIHHI7I", 7, 31, 0, 0, 16, 12, MAX_WRITE, 1, 32, 0, 0, *[0] * 7)


def pack_attributes(attributes: Attributes) -> bytes:
    """The answer to GETATTR and SETATTR; it may not be kept, for the next one may be another."""
    return struct.pack("<QII", 0, 0, 0) + attributes.pack()


def pack_entry(attributes: Attributes) -> bytes:
    """The answer to LOOKUP and whatever makes a name."""
    return struct.pack("<QQQQII", attributes.node, 0, 0, 0, 0, 0) + attributes.pack()


def pack_opened() -> bytes:
    """The answer to OPEN and OPENDIR."""
    return struct.pack("<QIi", 0, 0, 0)


def pack_room(blocks: int, free: int) -> bytes:
    """The answer to STATFS, in blocks of 4096 bytes."""
    return struct.pack("<5Q4I6I", blocks, free, free, 1000, 1000, 4096, 255, 4096, 0, *[0] * 6)


def pack_listing(entries: list[tuple[str, Attributes]], offset: int, room: int) -> bytes:
    """The answer to READDIR: what is behind `offset`, as far as it fits."""
    listed = b""
    for at, (name, attributes) in enumerate(entries[offset:], offset + 1):
        raw = os.fsencode(name)
        entry = struct.pack("<QQII", attributes.node, at, len(raw), stat.S_IFMT(attributes.mode) >> 12) + raw
        entry += bytes(-len(entry) % 8)
        if len(listed) + len(entry) > room:
            break
        listed += entry
    return listed


# Mounting, in a namespace that a child keeps.


@contextlib.contextmanager
def mounted(kind: str, folder: Path, options: str = "", *, read_only: bool = False) -> Iterator[tuple[Path, int]]:
    """A file system of that kind mounted on `folder`, for one child alone: (the path to it from here, /dev/fuse or -1).

    The path leads through /proc into the child's namespace. OSError or LabUnavailable where that is not allowed.
    """
    ours, theirs = socket.socketpair()
    with ours, theirs:
        pid = fork_child(lambda: _keep_mount(theirs, kind, os.fspath(folder), options, read_only=read_only))
        theirs.close()
        said, descriptors, _, _ = socket.recv_fds(ours, 1000, 1)
        fuse_fd = descriptors[0] if descriptors else -1
        try:
            if said != b"mounted":
                raise OSError(errno.EPERM, f"no {kind} can be mounted here: {said.decode() or 'the child died'}")
            yield Path(f"/proc/{pid}/root{folder}"), fuse_fd
        finally:
            if fuse_fd >= 0:
                os.close(fuse_fd)  # whoever still waits for an answer gets ECONNABORTED
            ours.close()
            reap(pid, _PATIENCE_S)


def _keep_mount(theirs: socket.socket, kind: str, folder: str, options: str, *, read_only: bool) -> None:
    """The child: mount, say so, and stay until the other end is closed."""
    close_all_but({0, 1, 2, theirs.fileno()})
    try:
        if os.geteuid():
            enter_user_namespace()
        unshare(CLONE_NEWNS)
        make_mounts_private()
        descriptors = []
        if kind == "fuse":
            descriptors = [os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)]
            options = f"fd={descriptors[0]},rootmode=40000,user_id={os.geteuid()},group_id={os.getegid()}"
        _mount(kind, folder, options, flags=_MS_RDONLY if read_only else 0)
        socket.send_fds(theirs, [b"mounted"], descriptors)
        for fd in descriptors:
            os.close(fd)
    except (OSError, LabUnavailable) as error:
        theirs.send(str(error).encode())
        return
    theirs.recv(1)


def enter_mount(path: Path) -> None:
    """Move this process, which must have one thread, to where the path of a `mounted` leads, and make that its folder.

    For who resolves links: realpath would follow the one in /proc to this side of the mount.
    """
    keeper = Path(*path.parts[:3])
    if os.geteuid():
        _set_namespace(keeper / "ns/user", CLONE_NEWUSER)
    _set_namespace(keeper / "ns/mnt", CLONE_NEWNS)
    os.chdir(Path("/", *path.parts[4:]))
    # A new user namespace hides a process from its own user, and its descriptors in /proc from itself.
    ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0)


def _set_namespace(path: Path, kind: int) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    setns(descriptor, kind)
    os.close(descriptor)


def _mount(kind: str, folder: str, options: str, *, flags: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(kind.encode(), folder.encode(), kind.encode(), ctypes.c_ulong(flags), options.encode()):
        code = ctypes.get_errno()
        raise OSError(code, f"mount {kind}: {os.strerror(code)}")


@cache
def mounting_obstacle(kind: str, folder: Path = Path("/tmp")) -> str:
    """Why no file system of that kind can be mounted here; empty if one can."""
    try:
        with mounted(kind, folder):
            return ""
    except (OSError, LabUnavailable) as error:
        return str(error)
