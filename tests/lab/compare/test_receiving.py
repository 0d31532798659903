"""One transfer from both sides, on this machine: what each side says of it, and what it says when it goes wrong."""

from __future__ import annotations

import hashlib
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from blockstep_lab.compare.receiving import fetch, fetch_one
from blockstep_lab.compare.sending import Sent, serve_one
from blockstep_lab.compare.separate import here
from blockstep_lab.compare.transfer import Transfer
from blockstep_lab.netns.host import Task
from blockstep_lab.simulation import content_of

CONTENT = content_of(300_000)
PLANS = {
    "udp": Transfer(transport="udp", blksize=1428, windowsize=16, content=CONTENT, max_time_s=10),
    "lock-step": Transfer(transport="udp", blksize=8192, content=CONTENT, max_time_s=10),
    "tcp": Transfer(transport="tcp", blksize=65536, congestion="reno", content=CONTENT, max_time_s=10),
    "unix": Transfer(transport="unix", blksize=65536, content=CONTENT, max_time_s=10),
}


@contextmanager
def serving(transfer: Transfer, folder: Path) -> Iterator[tuple[tuple[str, int] | Path, Task[Sent]]]:
    """Where the file is to be had, and the sender, who is gone afterwards."""
    is_unix = transfer.transport == "unix"
    path = folder / "socket"
    ready, theirs = os.pipe()
    task = here().start(serve_one, transfer, str(path) if is_unix else "127.0.0.1", theirs)
    os.close(theirs)
    try:
        port = int(os.read(ready, 16))
        yield (path if is_unix else ("127.0.0.1", port)), task
    finally:
        os.close(ready)
        task.kill()


@pytest.mark.parametrize("name", list(PLANS))
def test_both_sides_tell_how_it_went(name: str, tmp_path: Path) -> None:
    transfer = PLANS[name]
    with serving(transfer, tmp_path) as (where, task):
        received = fetch_one(replace(transfer, content=b""), where)
        sent = task.result(10)
    assert received.failure is sent.failure is None
    assert not received.over_time
    assert received.file_bytes == len(CONTENT)
    assert received.sha256 == hashlib.sha256(CONTENT).hexdigest()
    assert received.first_byte_s is not None
    assert received.longest_stall_s is not None
    assert 0 < received.first_byte_s <= received.total_s
    assert 0 < received.longest_stall_s <= received.total_s
    assert received.points[-1][0] <= received.total_s
    assert received.points[-1][1] == len(CONTENT)
    assert received.cpu_s > 0
    assert sent.cpu_s > 0
    # On a busy machine timers run out, the kernel's and ours: what goes out again is told, and where.
    if name == "unix":
        assert sent.resends is None
    else:
        assert sent.resends is not None
        assert bool(sent.resends) == bool(sent.resend_points)
    assert (sent.timeouts is None) == transfer.is_stream


@pytest.mark.parametrize("name", ["udp", "tcp", "unix"])
def test_nobody_there_is_a_failure_with_a_reason(name: str, tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM if name == "udp" else socket.SOCK_STREAM) as taken:
        taken.bind(("127.0.0.1", 0))
        address = taken.getsockname()
    received = fetch_one(PLANS[name], tmp_path / "nobody" if name == "unix" else address)
    assert received.failure == "no server listens there"
    assert (received.file_bytes, received.sha256, received.first_byte_s) == (0, None, None)
    assert not received.over_time


@pytest.mark.parametrize("name", ["udp", "tcp"])
def test_a_silent_server_is_over_time(name: str) -> None:
    transfer = replace(PLANS[name], max_time_s=0.2)
    kind = socket.SOCK_STREAM if transfer.is_stream else socket.SOCK_DGRAM
    with socket.socket(socket.AF_INET, kind) as silent:
        silent.bind(("127.0.0.1", 0))
        if transfer.is_stream:
            silent.listen()
        received = fetch_one(transfer, silent.getsockname())
    assert received.over_time
    assert received.sha256 is None
    assert 0.15 < received.total_s < 5


def test_a_transfer_that_is_cut_off_has_what_arrived_until_then(tmp_path: Path) -> None:
    """Lock-step with tiny blocks would take seconds."""
    slow = Transfer(transport="udp", blksize=8, content=CONTENT * 4, max_time_s=0.3)
    with serving(slow, tmp_path) as (where, _):
        received = fetch_one(slow, where)
    assert received.over_time
    assert 0 < received.file_bytes < len(slow.content)
    assert received.longest_stall_s is not None


def test_datagrams_do_not_go_to_a_path(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no datagrams go to the path"):
        fetch(PLANS["udp"], tmp_path, None, 0.0)  # type: ignore[arg-type]
