"""openat2(2), which the standard library does not have: open a path so that the kernel keeps it below a directory.

Direct and small on purpose: one structure and one call. Nothing here knows names from the network or what a refusal
means to them.
"""

from __future__ import annotations

import ctypes
import os

__all__ = ["is_available", "open_beneath"]

# The number is the same on every architecture: all system calls since 424 are.
_SYS_OPENAT2 = 437
_RESOLVE_NO_MAGICLINKS = 0x02
_RESOLVE_BENEATH = 0x08

_LIBC = ctypes.CDLL(None, use_errno=True)


class _OpenHow(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


def open_beneath(dir_fd: int, path: bytes, flags: int) -> int:
    """Open an existing `path`, relative to `dir_fd`; the descriptor is closed on exec.

    Symbolic links count as long as every step stays below `dir_fd`. Raises OSError: EXDEV for a step outside (an
    absolute link is one), EAGAIN when a rename elsewhere in the tree raced with a `..` in a link.
    """
    how = _OpenHow(flags | os.O_CLOEXEC, 0, _RESOLVE_BENEATH | _RESOLVE_NO_MAGICLINKS)
    fd: int = _LIBC.syscall(
        ctypes.c_long(_SYS_OPENAT2),
        ctypes.c_int(dir_fd),
        ctypes.c_char_p(path),
        ctypes.byref(how),
        ctypes.c_size_t(ctypes.sizeof(how)),
    )
    if fd < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return fd


def is_available(dir_fd: int) -> bool:
    """Whether this kernel has it (5.6) and lets us use it: some container filters answer ENOSYS or EPERM."""
    try:
        os.close(open_beneath(dir_fd, b".", os.O_PATH))
    except OSError:
        return False
    return True
