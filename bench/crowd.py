"""Many clients at once, and what each of them costs the server in memory.

Storms take turns between the servers like single transfers do. After each storm the server must be as it was: no child,
no zombie, no descriptor more than before. For ours its own log says how often it sent something again.
"""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass
from typing import Any

import procfs
from blockstep.protocol.errors import TftpError
from blockstep.protocol.wire import ErrorPacket
from blockstep.transport.client import Opened
from fast_client import Request, open_transfer
from servers import Server
from stage import MIB, Stage, say
from storm import Outcome, Storm, run_storm

SMALL_BYTES = 4000
_BLKSIZE = 1428
_LIMIT_S = 30.0
_SETTLE_S = 10.0
_HELD = 50


@dataclass(frozen=True, slots=True)
class Crowd:
    """So many clients, all for a file of this size, with this windowsize."""

    clients: int
    size_bytes: int
    windowsize: int


CROWDS = [
    Crowd(clients, size_bytes, windowsize)
    for clients in (200, 500)
    for size_bytes in (SMALL_BYTES, MIB)
    for windowsize in (1, 16)
]


def measure(stage: Stage, crowds: list[Crowd], *, pairs: int) -> list[dict[str, Any]]:
    """A record for each crowd: for each server a list of what became of it."""
    records = []
    for crowd in crowds:
        what = f"{crowd.clients} clients x {crowd.size_bytes} bytes, windowsize {crowd.windowsize}"
        if not stage.has_time_for(what):
            continue
        say(what)
        found: dict[str, list[dict[str, Any]]] = {server.name: [] for server in stage.servers}
        for _ in range(pairs):
            for server in stage.servers:
                found[server.name].append(_run(stage, server, crowd))
        record = {"clients": crowd.clients, "size_bytes": crowd.size_bytes, "windowsize": crowd.windowsize}
        records.append({**record, "blksize": _BLKSIZE, "servers": found})
    return records


def _run(stage: Stage, server: Server, crowd: Crowd) -> dict[str, Any]:
    server.settle()
    descriptors_before, log_before = procfs.descriptors(server.pid), server.log.stat().st_size
    outcome = run_storm(
        Storm(
            address=server.address,
            name=stage.file(crowd.size_bytes),
            expected=stage.content(crowd.size_bytes),
            clients=crowd.clients,
            blksize=_BLKSIZE,
            windowsize=crowd.windowsize,
            limit_s=_LIMIT_S,
        )
    )
    settled = server.settle(_SETTLE_S)
    left = {
        "children": len(procfs.children(server.pid)),
        "zombies": procfs.zombies(server.pid),
        "descriptors": procfs.descriptors(server.pid) - descriptors_before,
    }
    return {**_record(outcome), "settled": settled, "left": left, "server_resends": _resends(server, log_before)}


def _record(outcome: Outcome) -> dict[str, Any]:
    return {
        "finished": outcome.finished,
        "failed": outcome.failed,
        "seconds": outcome.seconds,
        "mb_s": outcome.mb_s,
        "granted": list(outcome.granted),
        "asked_again": outcome.asked_again,
        "acks_resent": outcome.asked_for,
        "blocks_doubled": outcome.doubled,
        "errors": outcome.errors,
    }


def _resends(server: Server, from_byte: int) -> int | None:
    """What our server's log says about its resends since it was `from_byte` long; others do not tell."""
    return logged_sum(server, "resends", from_byte) if server.kind.is_ours else None


def logged_sum(server: Server, counter: str, from_byte: int) -> int:
    """The sum of a counter over the transfers in the log of a server of ours, from a position on."""
    with server.log.open("rb") as log:
        log.seek(from_byte)
        records = [json.loads(line) for line in log if line.startswith(b"{")]
    return sum(int(record[counter]) for record in records if record.get("event") == "transfer")


def measure_memory(stage: Stage) -> dict[str, dict[str, Any]]:
    """For each server, in bytes: idle, one child of one transfer (None without children), and each of 50 transfers."""
    say("memory")
    return {server.name: _memory_of(stage, server) for server in stage.servers}


def _memory_of(stage: Stage, server: Server) -> dict[str, Any]:
    server.settle()
    idle = procfs.pss_tree_bytes(server.pid)
    with contextlib.ExitStack() as held:
        _hold(stage, server, held)
        procfs.wait_until(lambda: bool(procfs.children(server.pid)), 0.2)
        first_child = next(iter(procfs.children(server.pid)), None)
        child = procfs.pss_bytes(first_child) if first_child is not None else None
        for _ in range(_HELD - 1):
            _hold(stage, server, held)
        each = (procfs.pss_tree_bytes(server.pid) - idle) / _HELD
    return {"idle_bytes": idle, "child_bytes": child, "each_of_50_bytes": each}


def _hold(stage: Stage, server: Server, held: contextlib.ExitStack) -> None:
    """Begin a transfer and answer no more; it ends with an ERROR when `held` is left."""
    with contextlib.suppress(TftpError, OSError):
        opened = open_transfer(Request(address=server.address, name=stage.file(MIB), blksize=_BLKSIZE, max_time_s=5))
        held.callback(_drop, opened)


def _drop(opened: Opened) -> None:
    with contextlib.suppress(TftpError, OSError):
        opened.endpoint.send(ErrorPacket(0, "measured").to_bytes())
    opened.endpoint.close()
