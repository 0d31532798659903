"""The calls of Linux that Python 3.11 does not have, each raising OSError with the name of the call.

The library is loaded at import, so that nothing has to be found after a fork. On other systems every call raises
ENOSYS.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import platform
import struct
import sys
from pathlib import Path

__all__ = [
    "CLONE_NEWNET",
    "CLONE_NEWNS",
    "CLONE_NEWUSER",
    "bind_mount",
    "keep_capabilities_over_exec",
    "make_mounts_private",
    "mount_tmpfs",
    "setns",
    "sharpen_timers",
    "take_short_turns",
    "unmount_lazily",
    "unshare",
]

CLONE_NEWNS = 0x0002_0000
CLONE_NEWUSER = 0x1000_0000
CLONE_NEWNET = 0x4000_0000

_MS_BIND = 0x1000
_MS_REC = 0x4000
_MS_PRIVATE = 1 << 18
_MNT_DETACH = 2
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_RAISE = 2
_CAPABILITY_VERSION_3 = 0x2008_0522
_SCHED_SETATTR = {"x86_64": 314, "aarch64": 274, "riscv64": 274}
_SHORT_TURN_NS = 100_000

_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def unshare(kinds: int) -> None:
    """New namespaces of these kinds for this process. A user namespace needs a process with one thread."""
    _call("unshare", kinds)


def setns(descriptor: int, kind: int) -> None:
    """Moves this process into the namespace that the descriptor stands for."""
    _call("setns", descriptor, kind)


def make_mounts_private() -> None:
    """What is mounted from now on in this mount namespace stays in it."""
    _call("mount", b"none", b"/", None, ctypes.c_ulong(_MS_REC | _MS_PRIVATE), None)


def mount_tmpfs(target: Path) -> None:
    """An empty file system in memory."""
    _call("mount", b"tmpfs", os.fsencode(target), b"tmpfs", ctypes.c_ulong(0), b"size=1m,mode=0700")


def bind_mount(source: Path, target: Path) -> None:
    """Shows `source` in the place of `target`."""
    _call("mount", os.fsencode(source), os.fsencode(target), None, ctypes.c_ulong(_MS_BIND), None)


def unmount_lazily(target: Path) -> None:
    """Takes a file system away from the tree; what is in use of it stays."""
    _call("umount2", os.fsencode(target), _MNT_DETACH)


def keep_capabilities_over_exec() -> None:
    """Programs that are started from now on have the capabilities of this process, though it is not root."""
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    # Effective, permitted, inheritable; first the lower 32 of each, then the upper.
    data = (ctypes.c_uint32 * 6)()
    _call("capget", header, data)
    data[2], data[5] = data[1], data[4]
    _call("capset", header, data)
    held = data[1] | data[4] << 32
    for number in range(held.bit_length()):
        if held >> number & 1:
            unused = ctypes.c_ulong(0)
            ambient = ctypes.c_ulong(_PR_CAP_AMBIENT_RAISE)
            _call("prctl", _PR_CAP_AMBIENT, ambient, ctypes.c_ulong(number), unused, unused)


def sharpen_timers() -> None:
    """Asks the kernel not to round this process's sleeps up to 50 us; where it refuses, they are that much longer."""
    with contextlib.suppress(OSError):
        Path("/proc/self/timerslack_ns").write_text("1")


def take_short_turns() -> bool:
    """Asks for turns of 0.1 ms at the processor, the shortest there are; whether the kernel knows such a wish.

    Since Linux 6.12 who asks for shorter turns gets them sooner, and anybody may ask (sched_setattr(2)).
    """
    number = _SCHED_SETATTR.get(platform.machine())
    if _LIBC is None or number is None:
        return False
    attributes = struct.pack("=IIQiIQQQ", 48, os.SCHED_OTHER, 0, 0, 0, _SHORT_TURN_NS, 0, 0)
    return bool(_LIBC.syscall(ctypes.c_long(number), 0, attributes, 0) == 0)


def _call(name: str, *arguments: object) -> None:
    if _LIBC is None:
        raise OSError(errno.ENOSYS, f"{name}: only Linux has it")
    if getattr(_LIBC, name)(*arguments):
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")
