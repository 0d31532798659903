from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from blockstep_server.admission import Admission, Claim, Policy
from blockstep_server.children import Task
from blockstep_server.config import LogFormat
from blockstep_server.log_output import LogOutput
from blockstep_server.report import Reporter, TransferRecord
from blockstep_server.telling import Telling
from blockstep_server.unforked import Unforked

BLANK = TransferRecord(peer="peer", status=0)


class Bell:
    """A listener that brings a task for each byte in a pipe."""

    def __init__(self, host: Unforked, body: Any) -> None:
        self._read_fd, self._write_fd = os.pipe()
        self._host = host
        self._body = body

    def ring(self) -> None:
        os.write(self._write_fd, b"x")

    def fileno(self) -> int:
        return self._read_fd

    def handle_readable(self) -> None:
        os.read(self._read_fd, 1)
        for _ in range(2):  # a batch may bring more than is wanted
            self._host.spawn(Task(Claim("source", "asker"), self._body, BLANK))

    def close(self) -> None:
        os.close(self._read_fd)
        os.close(self._write_fd)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


def run(log: Path, body: Any) -> int:
    with log.open("wb") as output:
        host = Unforked(Admission(Policy(max_sessions=1)), Reporter(LogOutput(output.fileno()), LogFormat.TEXT, 1))
        bell = Bell(host, body)
        try:
            bell.ring()
            host.refuse("full", "somebody")
            host.rest(bell, 1.0)
            return host.run([bell])
        finally:
            bell.close()


def test_one_task_is_done_here_and_told(log: Path) -> None:
    pids: list[int] = []

    def body(_telling: Telling) -> TransferRecord:
        pids.append(os.getpid())
        return TransferRecord(peer="peer", file="file", status=68)

    assert run(log, body) == 68
    assert pids == [os.getpid()]
    assert "request file for peer" in log.read_text()
    assert "1 full; the last from somebody" in log.read_text()


def test_a_connection_tells_each_request(log: Path) -> None:
    def body(telling: Telling) -> None:
        for status in (0, 69):
            telling.ended(TransferRecord(peer="peer", file=f"file{status}", status=status))

    assert run(log, body) == 69
    assert "file0" in log.read_text()
    assert "file69" in log.read_text()
