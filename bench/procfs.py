"""What Linux says about a process: its CPU time, its memory, its children and its descriptors.

Everything is read from /proc, so it works on servers of any make without their help. A process that ends while it is
looked at counts as gone, not as an error.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path


def cpu_s(pid: int) -> float:
    """CPU seconds of a process with all its threads, and of its living children. Exact, not sampled by a clock tick.

    Who has ended is not in it: some servers do not wait for their children, so the kernel adds them to nobody. Ask
    while they live.
    """
    return _own_cpu_s(pid) + sum(cpu_s(child) for child in children(pid))


def _own_cpu_s(pid: int) -> float:
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9
    except OSError:
        return 0.0


def children(pid: int) -> list[int]:
    """The living children, zombies included."""
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        return [int(child) for task in tasks for child in (task / "children").read_text().split()]
    except OSError:
        return []


def zombies(pid: int) -> int:
    """How many children have ended and were not waited for."""
    return sum((_stat(child) or ["?"])[0] == "Z" for child in children(pid))


def descriptors(pid: int) -> int:
    """How many descriptors the process has open."""
    return len(os.listdir(f"/proc/{pid}/fd"))


def pss_bytes(pid: int) -> int:
    """Memory of one process; pages that n processes share count one n-th in each of them."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)


def pss_tree_bytes(pid: int) -> int:
    """Memory of a process and its children."""
    return pss_bytes(pid) + sum(pss_bytes(child) for child in children(pid))


def wait_until(condition: Callable[[], bool], limit_s: float) -> bool:
    """Look every 5 ms; False if `condition` did not come true within `limit_s`."""
    until = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > until:
            return False
        time.sleep(0.005)
    return True


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the state on; empty if there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []
