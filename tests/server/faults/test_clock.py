"""No deadline hangs on the clock of the day, which an administrator or NTP may set at any moment.

A running machine's clock is nobody's to set for a test, and Linux cannot set it for one process. So this is read from
the source: what waits or measures asks a monotonic clock, and the few who ask for the time of day only write it down.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[3]
ROOMS = ("tftp", "server", "client")
OF_THE_DAY = {"time", "time_ns", "localtime", "gmtime", "ctime", "strftime", "clock_settime"}
DATES = {"now", "utcnow", "today", "fromtimestamp"}
# Who only writes it down: the time of a line in the log, and of a datagram in a capture.
WRITERS = {"server/blockstep_server/report.py", "tftp/blockstep/transport/recording.py"}


def askers(path: Path) -> Iterator[str]:
    """Where a module mentions the time of day, called or handed on as a clock."""
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.ImportFrom) and node.module == "time":
            names = {alias.name for alias in node.names} & OF_THE_DAY
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            names = {node.attr} & {"time": OF_THE_DAY, "datetime": DATES, "date": DATES}.get(node.value.id, set())
        else:
            continue
        yield from (f"{path.relative_to(ROOT)}:{node.lineno} asks for {name}" for name in names)


def test_only_what_is_written_down_has_the_time_of_day() -> None:
    found = [line for room in ROOMS for path in sorted((ROOT / room).rglob("*.py")) for line in askers(path)]
    assert [line for line in found if line.partition(":")[0] not in WRITERS] == []
    assert {line.partition(":")[0] for line in found} == WRITERS
