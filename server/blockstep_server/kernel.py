"""The few Linux calls that the standard library does not have. On other systems each does nothing and says so.

The library is loaded at import, so that nothing has to be found after a fork or after the file system was closed off.
"""

from __future__ import annotations

import ctypes
import errno
import os
import sys

__all__ = [
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_NET_BIND_SERVICE",
    "FILE_CAPABILITIES",
    "Capabilities",
    "capabilities",
    "die_with_parent",
    "forbid_new_privileges",
    "forget_capabilities",
    "keep_capabilities",
    "set_capabilities",
    "system_call",
]

CAP_DAC_OVERRIDE = 1
CAP_DAC_READ_SEARCH = 2
CAP_NET_BIND_SERVICE = 10
_CAP_SETPCAP = 8
FILE_CAPABILITIES = 1 << CAP_DAC_OVERRIDE | 1 << CAP_DAC_READ_SEARCH

_PR_SET_PDEATHSIG = 1
_PR_SET_KEEPCAPS = 8
_PR_CAPBSET_DROP = 24
_PR_SET_NO_NEW_PRIVS = 38
_CAPABILITY_VERSION_3 = 0x20080522

_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None
_NOTHING = (0,) * 6
if _LIBC is not None:
    # Said once: a child that converts each number by itself touches, and so copies, more of the parent's memory.
    _LIBC.syscall.argtypes = (ctypes.c_long,) * 7
    _LIBC.syscall.restype = ctypes.c_long
    _LIBC.prctl.argtypes = (ctypes.c_int, *(ctypes.c_ulong,) * 4)


def die_with_parent(signal_number: int) -> bool:
    """Have the kernel send us this signal when the process that forked us ends. A change of ids undoes it."""
    return _prctl(_PR_SET_PDEATHSIG, signal_number)


def forbid_new_privileges() -> bool:
    """From now on no program that we start can gain rights by set-uid bits or file capabilities."""
    return _prctl(_PR_SET_NO_NEW_PRIVS, 1)


def keep_capabilities() -> bool:
    """Let the permitted capabilities survive the next change from root to another user."""
    return _prctl(_PR_SET_KEEPCAPS, 1)


class Capabilities:
    """A set of capabilities (`mask`, bit n: capability n, n < 32), made ready for a process to restrict itself to."""

    def __init__(self, mask: int) -> None:
        self._header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
        self._data = (ctypes.c_uint32 * 6)(mask, mask, 0, 0, 0, 0)

    def enforce(self) -> bool:
        """Make them the permitted and effective ones, and no more. OSError if we do not have one of them."""
        if _LIBC is None:
            return False
        _check(_LIBC.capset(self._header, self._data))
        return True


def set_capabilities(mask: int) -> bool:
    """Make `mask` the permitted and effective capabilities, and no more, as `Capabilities` does."""
    return Capabilities(mask).enforce()


def forget_capabilities(*, all_but: int) -> None:
    """Take from the bounding set what no program of ours shall ever have again. OSError; needs CAP_SETPCAP.

    Who has not that capability could not use the others to gain more either: it is left alone.
    """
    if not capabilities() & 1 << _CAP_SETPCAP:
        return
    for number in range(64):
        if not all_but & 1 << number:
            try:
                _prctl(_PR_CAPBSET_DROP, number)
            except OSError:  # one past the last that this kernel has
                return


def capabilities() -> int:
    """The permitted capabilities as a bit mask; 0 where the system does not have them."""
    if _LIBC is None:
        return 0
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    data = (ctypes.c_uint32 * 6)()
    _check(_LIBC.capget(header, data))
    return int(data[1]) | int(data[4]) << 32


def system_call(number: int, *arguments: int) -> int:
    """A system call by its number, with integers and addresses. OSError if the kernel refuses it."""
    if _LIBC is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    result: int = _LIBC.syscall(number, *arguments, *_NOTHING[len(arguments) :])
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def _prctl(option: int, value: int) -> bool:
    if _LIBC is None:
        return False
    _check(_LIBC.prctl(option, value, 0, 0, 0))
    return True


def _check(result: int) -> None:
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
