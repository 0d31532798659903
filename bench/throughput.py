"""One client, one file: how fast, and what it costs the server.

The servers take turns (A B C A B C ...), so that a busy moment of the machine hits all of them; what counts is the
median. A server is measured where it grants what was asked, after one transfer that is checked byte by byte. CPU time
is read while the last block is not yet acknowledged, for then every process that worked on the transfer still lives.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import procfs
from blockstep.protocol.errors import TftpError
from fast_client import CheckingSink, CountingSink, Request, fetch
from servers import Server
from stage import MIB, Stage, say

# By windowsize 1 and more than 1: about a second of the slower servers.
_SIZE_MIB = {512: (8, 64), 1428: (16, 128), 8192: (64, 256), 65464: (256, 256)}
_QUICK_PART = 4


@dataclass(frozen=True, slots=True)
class Cell:
    """One combination of options."""

    blksize: int
    windowsize: int

    def size_bytes(self, quick: bool) -> int:
        """How large the file should be."""
        alone, windowed = _SIZE_MIB.get(self.blksize, (16, 64))
        return (alone if self.windowsize == 1 else windowed) * MIB // (_QUICK_PART if quick else 1)


class _Metered(CountingSink):
    """Reads the server's CPU time when it has everything, before the last ACK goes out."""

    def __init__(self, pid: int) -> None:
        super().__init__()
        self.cpu_s = -procfs.cpu_s(pid)
        self._pid = pid

    def commit(self) -> None:
        super().commit()
        self.cpu_s += procfs.cpu_s(self._pid)


def measure(stage: Stage, cells: list[Cell], *, pairs: int, quick: bool) -> list[dict[str, Any]]:
    """A record for each cell: the file's size, and for each server its rates, cost and what it granted."""
    records = []
    for cell in cells:
        what = f"throughput, blksize {cell.blksize}, windowsize {cell.windowsize}"
        if stage.has_time_for(what):
            say(what)
            records.append(_measure_cell(stage, cell, cell.size_bytes(quick), pairs))
    return records


def _measure_cell(stage: Stage, cell: Cell, size_bytes: int, pairs: int) -> dict[str, Any]:
    name, content = stage.file(size_bytes), stage.content(size_bytes)
    entries = {server.name: _check(server, cell, name, content) for server in stage.servers}
    competing = [server for server in stage.servers if not entries[server.name]["left_out"]]
    for _ in range(pairs):
        for server in competing:
            _run(server, cell, name, entries[server.name])
    for entry in entries.values():
        if entry["mb_s"]:
            entry["cpu_s_per_gb"] = entry.pop("cpu_s") / len(entry["mb_s"]) / size_bytes * 1e9
    return {"blksize": cell.blksize, "windowsize": cell.windowsize, "size_bytes": size_bytes, "servers": entries}


def _check(server: Server, cell: Cell, name: str, content: bytes) -> dict[str, Any]:
    """One transfer that does not count: what is granted, and do the bytes come right."""
    entry: dict[str, Any] = {"granted": None, "left_out": "", "mb_s": [], "resends": 0, "cpu_s": 0.0}
    sink = CheckingSink(content)
    try:
        fetched = fetch(_request(server, cell, name), sink)
    except (TftpError, OSError) as error:
        entry["left_out"] = f"fails: {error}"
        return entry
    agreed = fetched.agreed
    entry["granted"] = [agreed.blksize, agreed.windowsize]
    if sink.wrong:
        entry["left_out"] = "wrong bytes"
    elif (agreed.blksize, agreed.windowsize) != (cell.blksize, cell.windowsize):
        entry["left_out"] = f"grants {agreed.blksize} x {agreed.windowsize}"
    return entry


def _run(server: Server, cell: Cell, name: str, entry: dict[str, Any]) -> None:
    server.settle()
    sink = _Metered(server.pid)
    try:
        fetched = fetch(_request(server, cell, name), sink)
    except (TftpError, OSError) as error:
        entry["left_out"] = f"fails at times: {error}"
        return
    finally:
        sink.abort()
    entry["mb_s"].append(fetched.size_bytes / fetched.seconds / 1e6)
    entry["resends"] += fetched.stats.resends
    entry["cpu_s"] += sink.cpu_s


def _request(server: Server, cell: Cell, name: str) -> Request:
    return Request(address=server.address, name=name, blksize=cell.blksize, windowsize=cell.windowsize)
