"""Resource limits of a child (setrlimit): a backstop against what runs away, not a quota.

Decided here: the numbers. CPU: a read has 16 us for each byte of its file and ten minutes more, which the slowest
transfer (blksize 8, lock-step) uses a fifth of; an upload has twelve hours. Descriptors: sixteen, and those that are
open stay open. Address space: what the server has, and 256 MiB. An upload file: --max-upload. No core dump, which would
hold the file. No new process; root is exempt from that one by the kernel's rules, seccomp is not.
"""

from __future__ import annotations

import errno
import os
import resource

__all__ = [
    "Limits",
    "address_space_bytes",
    "attainable",
    "enforce",
    "for_files_of",
    "for_transfer",
    "in_words",
    "limits_for",
]

_DESCRIPTORS = 16
_CPU_S = 600
_CPU_UPLOAD_S = 12 * 3600
_BYTES_PER_CPU_S = 1 << 16
_MORE_MEMORY_BYTES = 256 << 20

_NAMES = {
    resource.RLIMIT_CORE: "core dump",
    resource.RLIMIT_NPROC: "processes",
    resource.RLIMIT_CPU: "CPU seconds",
    resource.RLIMIT_NOFILE: "descriptors",
    resource.RLIMIT_AS: "address space",
    resource.RLIMIT_FSIZE: "file size",
}

Limits = tuple[tuple[int, int], ...]
"""(RLIMIT_..., value) pairs."""


def limits_for(*, address_space: int | None, connection: bool = False) -> Limits:
    """The limits of a child before it knows what it is asked for. A connection has to open files again and again."""
    pairs = [(resource.RLIMIT_CORE, 0), (resource.RLIMIT_NPROC, 0)]
    pairs.append((resource.RLIMIT_CPU, _CPU_UPLOAD_S) if connection else (resource.RLIMIT_NOFILE, _DESCRIPTORS))
    if address_space is not None:
        pairs.append((resource.RLIMIT_AS, address_space))
    return tuple(pairs)


def for_transfer(size_bytes: int | None) -> Limits:
    """How much CPU the sending of a file of this size may take; None: an upload."""
    cpu_s = _CPU_UPLOAD_S if size_bytes is None else min(_CPU_S + size_bytes // _BYTES_PER_CPU_S, _CPU_UPLOAD_S)
    return ((resource.RLIMIT_CPU, cpu_s),)


def for_files_of(size_bytes: int) -> Limits:
    """No file may grow beyond this."""
    return ((resource.RLIMIT_FSIZE, size_bytes),)


def attainable(limits: Limits) -> Limits:
    """The same, but where the process is limited to less already."""
    found = []
    for what, value in limits:
        _soft, hard = resource.getrlimit(what)
        found.append((what, value if hard == resource.RLIM_INFINITY else min(value, hard)))
    return tuple(found)


def in_words(limits: Limits) -> str:
    """For people."""
    return ", ".join(f"{_NAMES[what]} {value}" for what, value in limits)


def enforce(limits: Limits) -> None:
    """Set hard and soft limits, which must be attainable. OSError."""
    try:
        for what, value in limits:
            resource.setrlimit(what, (value, value))
    except ValueError as error:  # above the hard limit
        raise PermissionError(errno.EPERM, str(error)) from None


def address_space_bytes() -> int | None:
    """What a child may have: what this process has now, and room for its buffers. None where it cannot be told."""
    try:
        with open("/proc/self/statm", "rb") as statm:
            pages = int(statm.read().split()[0])
    except OSError:
        return None
    return pages * os.sysconf("SC_PAGE_SIZE") + _MORE_MEMORY_BYTES
