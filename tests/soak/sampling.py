"""A process's memory, children and descriptors once a second, noted by a process of its own.

Who starts and judges fifty clients is too busy to look at the clock. The figures go to a file, a line for a second, so
that what was seen survives whatever becomes of the soak.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import procfs

__all__ = ["Sample", "read_samples", "sampled"]

_HEADER = "seconds,memory_kib,children,descriptors"


class Sample(NamedTuple):
    """One second. `memory_kib` is what is the process's own and in use (RssAnon)."""

    seconds: float
    memory_kib: int
    children: int
    descriptors: int


@contextmanager
def sampled(pid: int, file: Path, every_s: float = 1.0) -> Iterator[None]:
    """Watch a process while the block runs."""
    watcher = multiprocessing.get_context("fork").Process(target=_watch, args=(pid, file, every_s), daemon=True)
    watcher.start()
    try:
        yield
    finally:
        watcher.terminate()
        watcher.join()


def read_samples(file: Path) -> list[Sample]:
    """What was noted. A last line that was cut short is left out."""
    _, *lines = file.read_text().rpartition("\n")[0].splitlines()
    rows = [line.split(",") for line in lines]
    return [Sample(float(row[0]), int(row[1]), int(row[2]), int(row[3])) for row in rows]


def _watch(pid: int, file: Path, every_s: float) -> None:
    began_s = time.monotonic()
    with file.open("w", buffering=1) as out:
        print(_HEADER, file=out)
        for turn in range(1 << 60):
            try:
                sample = _sample(pid, time.monotonic() - began_s)
            except OSError:
                return  # it has ended
            print(f"{sample.seconds:.1f},{sample.memory_kib},{sample.children},{sample.descriptors}", file=out)
            time.sleep(max(0.0, began_s + (turn + 1) * every_s - time.monotonic()))


def _sample(pid: int, seconds: float) -> Sample:
    status = Path(f"/proc/{pid}/status").read_text()
    memory_kib = next((int(line.split()[1]) for line in status.splitlines() if line.startswith("RssAnon")), 0)
    return Sample(seconds, memory_kib, len(procfs.children(pid)), procfs.descriptors(pid))
