"""Resource limits of a child (setrlimit): a backstop against what runs away, not a quota.

Decided here: the numbers. CPU: a read has 16 us for each byte of its file and ten minutes more, which the slowest
transfer (blksize 8, lock-step) uses a fifth of; an upload has twelve hours. Descriptors: sixteen, and those that are
open stay open. Address space: what the server has, and 256 MiB. An upload file: --max-upload. No core dump, which would
hold the file. No new process; root is exempt from that one by the kernel's rules, seccomp is not.
"""

from __future__ import annotations

import os
import resource

__all__ = ["Limits", "address_space_bytes", "enforce", "for_sending", "in_words", "limits_for"]

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


def limits_for(*, address_space: int | None, file_bytes: int | None = None, connection: bool = False) -> Limits:
    """The limits of a child. `file_bytes`: no file may be written beyond it (None: no limit of its own).

    A connection serves several transfers, and has to open files.
    """
    pairs = [
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NPROC, 0),
        (resource.RLIMIT_CPU, _CPU_UPLOAD_S),
    ]
    if not connection:
        pairs.append((resource.RLIMIT_NOFILE, _DESCRIPTORS))
    if address_space is not None:
        pairs.append((resource.RLIMIT_AS, address_space))
    if file_bytes is not None:
        pairs.append((resource.RLIMIT_FSIZE, file_bytes))
    return tuple(pairs)


def for_sending(size_bytes: int) -> Limits:
    """How much CPU the sending of a file of this size may take."""
    return ((resource.RLIMIT_CPU, min(_CPU_S + size_bytes // _BYTES_PER_CPU_S, _CPU_UPLOAD_S)),)


def in_words(limits: Limits) -> str:
    """For people."""
    return ", ".join(f"{_NAMES[what]} {value}" for what, value in limits)


def enforce(limits: Limits) -> None:
    """Set hard and soft limits; one that is lower already stays."""
    for what, value in limits:
        _soft, hard = resource.getrlimit(what)
        lowest = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(what, (lowest, lowest))


def address_space_bytes() -> int | None:
    """What a child may have: what this process has now, and room for its buffers. None where it cannot be told."""
    try:
        with open("/proc/self/statm", "rb") as statm:
            pages = int(statm.read().split()[0])
    except OSError:
        return None
    return pages * os.sysconf("SC_PAGE_SIZE") + _MORE_MEMORY_BYTES
