"""Landlock: a process gives up, for good, every way to files and TCP ports but those below directories that it names.

Direct system calls, small on purpose: a ruleset is made once (by the parent), and `restrict` costs a child one call.
Decided here: everything that this kernel's Landlock can handle is handled, so what has no rule is refused; later rights
are added by the version (ABI) that the kernel states. What is open already stays usable, and looking at names and
attributes (stat, readlink) is not covered by any version. No version has rules for UDP yet.
"""

from __future__ import annotations

import ctypes
import struct
from enum import IntFlag
from functools import lru_cache

from blockstep_server import kernel

__all__ = ["Access", "make_ruleset", "restrict", "version"]

# The numbers are the same on every architecture: all system calls since 424 are.
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_QUERY_VERSION = 1
_RULE_PATH_BENEATH = 1
_RULESET = struct.Struct("=QQQ")  # handled_access_fs, handled_access_net, scoped
_PATH_BENEATH = struct.Struct("=Qi")

_TCP_BIND_AND_CONNECT = 0b11
_SCOPE_ABSTRACT_SOCKETS_AND_SIGNALS = 0b11


class Access(IntFlag):
    """What may be done to a file or in a directory (linux/landlock.h)."""

    EXECUTE = 1 << 0
    WRITE_FILE = 1 << 1
    READ_FILE = 1 << 2
    READ_DIR = 1 << 3
    REMOVE_DIR = 1 << 4
    REMOVE_FILE = 1 << 5
    MAKE_CHAR = 1 << 6
    MAKE_DIR = 1 << 7
    MAKE_REG = 1 << 8
    MAKE_SOCK = 1 << 9
    MAKE_FIFO = 1 << 10
    MAKE_BLOCK = 1 << 11
    MAKE_SYM = 1 << 12
    REFER = 1 << 13
    TRUNCATE = 1 << 14
    IOCTL_DEV = 1 << 15


# Bits that each version added; what a kernel does not know may not be asked of it.
_FILE_BITS = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}
_NEWEST_FILES = max(_FILE_BITS)


def version() -> int:
    """The version of Landlock that this kernel has in force. OSError if it has none (ENOSYS, EOPNOTSUPP, EPERM)."""
    return kernel.system_call(_CREATE_RULESET, 0, 0, _QUERY_VERSION)


@lru_cache
def handled(abi: int) -> bytes:
    """The attribute of a ruleset that handles all that version `abi` can, of the length which that version knows."""
    files = (1 << _FILE_BITS[min(abi, _NEWEST_FILES)]) - 1
    network = _TCP_BIND_AND_CONNECT if abi >= 4 else 0
    scopes = _SCOPE_ABSTRACT_SOCKETS_AND_SIGNALS if abi >= 6 else 0
    known_bytes = 24 if abi >= 6 else 16 if abi >= 4 else 8
    return _RULESET.pack(files, network, scopes)[:known_bytes]


def make_ruleset(abi: int, rules: tuple[tuple[int, int], ...] = ()) -> int:
    """The descriptor of a ruleset, closed on exec: nothing is allowed but what `rules` say, (directory fd, `Access`).

    A right that version `abi` does not know cannot be refused by it and is left out. OSError.
    """
    attribute = handled(abi)
    fd = kernel.system_call(_CREATE_RULESET, _address_of(attribute), len(attribute), 0)
    known = int.from_bytes(attribute[:8], "little")
    for dir_fd, access in rules:
        rule = _PATH_BENEATH.pack(access & known, dir_fd)
        kernel.system_call(_ADD_RULE, fd, _RULE_PATH_BENEATH, _address_of(rule), 0)
    return fd


def restrict(ruleset_fd: int) -> None:
    """Put this process under a ruleset for good, on top of those it is under. OSError; needs no_new_privs."""
    kernel.system_call(_RESTRICT_SELF, ruleset_fd, 0)


def _address_of(data: bytes) -> int:
    """Where the bytes are. The caller keeps them alive until the call is done."""
    return ctypes.cast(ctypes.c_char_p(data), ctypes.c_void_p).value or 0
