"""Our own client and server from file to file, against plain TCP doing the same.

TCP is the least that can be done: one process sends the file by `socket.sendfile`, this one receives into a buffer and
writes. Both write a new file beside the served one and sync it, and both clocks run from the connection or request to
the end of that. The turns alternate.
"""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path
from typing import Any

from blockstep.transport.atomic import AtomicFileSink
from fast_client import Request, fetch
from servers import Server, ours_with, running
from stage import MIB, Stage, say

_COMBINATIONS = [(blksize, windowsize) for blksize in (1428, 8192, 65464) for windowsize in (64, 512)]
_SIZE_MIB = 512
_BUFFER_BYTES = MIB


class _TimedFile:
    """A file that appears whole, and when."""

    def __init__(self, path: Path) -> None:
        self.committed_at: float | None = None
        self._inner = AtomicFileSink.at(path)
        self.writev = self._inner.writev
        self.abort = self._inner.abort

    @property
    def bytes_written(self) -> int:
        """What the file holds."""
        return self._inner.bytes_written

    def commit(self) -> None:
        """Give it its name, and stop the clock."""
        self._inner.commit()
        self.committed_at = time.monotonic()


def measure(stage: Stage, *, pairs: int, quick: bool) -> dict[str, Any]:
    """Rates in 10^6 bytes a second: a list for TCP and one for each combination of ours."""
    size_bytes = _SIZE_MIB * MIB // (8 if quick else 1)
    name = stage.file(size_bytes)
    source, target = stage.root / name, stage.folder / "received"
    combinations = [c for c in _COMBINATIONS if stage.has_time_for(f"file to file, {c[0]} x {c[1]}")]
    record: dict[str, Any] = {"size_bytes": size_bytes, "tcp_mb_s": [], "ours": []}
    record["ours"] = [{"blksize": b, "windowsize": w, "granted": None, "mb_s": []} for b, w in combinations]
    say("file to file")
    with running(ours_with("--windowsize-max", "512"), stage.root, stage.logs) as server:
        for _ in range(pairs):
            record["tcp_mb_s"].append(size_bytes / _by_tcp(source, target) / 1e6)
            for entry in record["ours"]:
                _by_tftp(server, name, target, entry)
    return record


def _by_tftp(server: Server, name: str, target: Path, entry: dict[str, Any]) -> None:
    server.settle()
    request = Request(address=server.address, name=name, blksize=entry["blksize"], windowsize=entry["windowsize"])
    fetched = fetch(request, _TimedFile(target))
    target.unlink()
    entry["granted"] = [fetched.agreed.blksize, fetched.agreed.windowsize]
    entry["mb_s"].append(fetched.size_bytes / fetched.seconds / 1e6)


def _by_tcp(source: Path, target: Path) -> float:
    """Seconds for the file by TCP."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        pid = os.fork()
        if not pid:
            _send_and_exit(listener, source)
        try:
            return _receive(listener.getsockname(), target)
        finally:
            os.waitpid(pid, 0)
            target.unlink(missing_ok=True)


def _send_and_exit(listener: socket.socket, source: Path) -> None:
    try:
        listener.settimeout(10)
        connection, _ = listener.accept()
        connection.settimeout(60)
        with connection, source.open("rb") as file:
            connection.sendfile(file)
    finally:
        os._exit(0)


def _receive(address: tuple[str, int], target: Path) -> float:
    memory = memoryview(bytearray(_BUFFER_BYTES))
    started_s = time.monotonic()
    fd = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with socket.create_connection(address, timeout=60) as connection:
            while got := connection.recv_into(memory):
                os.write(fd, memory[:got])
        os.fsync(fd)
    finally:
        os.close(fd)
    return time.monotonic() - started_s
