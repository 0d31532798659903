"""What the sandbox costs a transfer: python bench/sandbox_cost.py [--rounds 300].

Forks children that do nothing, and children that put each mechanism in force, and all of them, before they do nothing.
Started by root it becomes nobody first, as the server does. The kinds take turns, so that whatever else the machine
does falls on all of them alike. CPU is that of parent and child together for fork, work, exit and reaping; time is from
the fork to the reaping. Medians; the last two columns are what is added to fork and exit.
"""

from __future__ import annotations

import argparse
import gc
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable

from blockstep_server.privileges import become, wanted
from blockstep_server.sandbox import Hold, Needs, Plan, Sandbox, prepare

Step = Callable[[], object]
ROW = "{:<24} {:>9} {:>9} {:>9} {:>9}"


def one(step: Step) -> tuple[float, float]:
    """Milliseconds of CPU and of time for one child."""
    started_s, cpu_s = time.perf_counter(), time.process_time()
    pid = os.fork()
    if pid == 0:
        try:
            step()
        finally:
            os._exit(sys.exc_info()[0] is not None)
    _, status, used = os.wait4(pid, 0)
    ended_s = time.perf_counter()
    assert status == 0, f"a child ended with status {status}"
    cpu_s = time.process_time() - cpu_s + used.ru_utime + used.ru_stime
    return cpu_s * 1e3, (ended_s - started_s) * 1e3


def both_steps(sandbox: Sandbox, hold: Hold) -> Step:
    """What a child does."""

    def step() -> None:
        sandbox.enter(Needs(uploads=True, upload_bytes=1 << 30))
        sandbox.confine(hold)

    return step


def cases(sandbox: Sandbox, dir_fd: int) -> dict[str, Step]:
    """Every kind of child by its name."""
    alone = {each.name: Sandbox(mechanisms=(each,)) for each in sandbox.mechanisms}
    return {
        "fork and exit": lambda: None,
        **{f"with {name} alone": both_steps(each, Hold(1 << 20)) for name, each in alone.items()},
        "all, to send": both_steps(sandbox, Hold(1 << 20)),
        "all, to take an upload": both_steps(sandbox, Hold(upload_dir_fd=dir_fd)),
        "all, for a connection": lambda: sandbox.enter(Needs(connection=True)),
    }


def main(rounds: int) -> None:
    """Measure and print."""
    dir_fd = os.open(tempfile.gettempdir(), os.O_PATH)
    print(become(wanted(None)))
    sandbox = prepare(Plan(root_fd=dir_fd))
    kinds = cases(sandbox, dir_fd)
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in kinds}
    gc.freeze()
    for _ in range(rounds):
        for name, step in kinds.items():
            found[name].append(one(step))
    sandbox.close()
    os.close(dir_fd)
    for missing in sandbox.missing:
        print(missing.text())
    print(ROW.format(f"{rounds} rounds, ms", "CPU", "time", "+CPU", "+time"))
    base = medians(found["fork and exit"])
    for name, values in found.items():
        cpu, wall = medians(values)
        print(ROW.format(name, *(f"{each:.3f}" for each in (cpu, wall, cpu - base[0], wall - base[1]))))


def medians(values: list[tuple[float, float]]) -> tuple[float, float]:
    """Of CPU and of time."""
    return statistics.median(cpu for cpu, _ in values), statistics.median(wall for _, wall in values)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="What each part of the sandbox costs a child.")
    parser.add_argument("--rounds", type=int, default=300)
    main(parser.parse_args().rounds)
