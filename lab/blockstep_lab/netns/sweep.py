"""Ending whatever still runs on a host of the lab, also what was started by something that was started there.

Decided here: that a process belongs to the lab if its network namespace does. That holds for daemons and for those
whose parents are gone, and for nothing else. Not known here: who started what.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Collection, Iterator
from pathlib import Path
from select import select

__all__ = ["end_processes", "processes_in"]

_ROUNDS = 50
_ROUND_S = 0.1


def processes_in(networks: Collection[int]) -> Iterator[int]:
    """The pids of all processes whose network namespace is one of these (inode numbers)."""
    for entry in Path("/proc").iterdir():
        if entry.name.isascii() and entry.name.isdecimal() and _network_of(entry) in networks:
            yield int(entry.name)


def end_processes(networks: Collection[int]) -> int:
    """Kills every process on these hosts but this one, until there is none; how many were killed."""
    killed: set[int] = set()
    for _ in range(_ROUNDS):
        found = [pid for pid in processes_in(networks) if pid != os.getpid()]
        if not found:
            break
        killed.update(found)
        _kill_and_wait(found, networks)
    return len(killed)


def _kill_and_wait(pids: list[int], networks: Collection[int]) -> None:
    with contextlib.ExitStack() as stack:
        descriptors = []
        for pid in pids:
            with contextlib.suppress(OSError):
                descriptor = os.pidfd_open(pid)
                stack.callback(os.close, descriptor)
                # The number may have gone to another process before it was held.
                if _network_of(Path(f"/proc/{pid}")) in networks:
                    signal.pidfd_send_signal(descriptor, signal.SIGKILL)
                    descriptors.append(descriptor)
        for descriptor in descriptors:
            select([descriptor], [], [], _ROUND_S)


def _network_of(process: Path) -> int:
    try:
        return os.stat(process / "ns/net").st_ino
    except OSError:
        return -1  # gone, a zombie, or another user's
