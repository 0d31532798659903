"""Crowds against a real server process: everybody is served, each request once, and nothing of it stays."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from blockstep.protocol.options import Wanted
from blockstep.protocol.wire import Opcode
from support.crowd import Errand, Member, send_crowd
from support.processes import RunningServer, own_loopback_host, running_server

PORTS = {"fresh port": "--no-single-port", "single port": "--single-port"}
# What the supervisor may keep of 400 transfers that are over: some pages of its allocator, nothing for each of them.
SLACK_KIB = 400


def content(seed: int, size: int) -> bytes:
    return random.Random(seed).randbytes(size)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    root.mkdir()
    return root


@contextmanager
def modest_server(root: Path, *options: str) -> Iterator[RunningServer]:
    """A server that is checked when it stops: no child, no zombie, no descriptor, no temporary.

    It stands back behind the crowd: all clients are in one process, which would starve among hundreds of children.
    """
    with running_server(root, "-b", own_loopback_host(), "-p", "0", *options) as server:
        os.setpriority(os.PRIO_PROCESS, server.pid, 5)
        yield server


@pytest.fixture(params=list(PORTS.values()), ids=list(PORTS))
def server(request: pytest.FixtureRequest, root: Path) -> Iterator[RunningServer]:
    with modest_server(root, "--upload", "create", request.param) as server:
        yield server


def small_files(root: Path, sizes: range) -> list[Errand]:
    """Files of these sizes, and a client to fetch each."""
    for size in sizes:
        (root / f"file-{size}").write_bytes(content(size, size))
    return [Errand(Opcode.RRQ, f"file-{size}", content(size, size), Wanted()) for size in sizes]


def check(server: RunningServer, members: list[Member]) -> None:
    """Everything arrived, on the first request, and the server knows of exactly these transfers."""
    for member in members:
        if member.errand.opcode is Opcode.RRQ:
            assert member.received == member.errand.content, member.errand.name
    records = server.await_transfers(len(members))
    asked_again = [member.errand.name for member in members if member.opening.resends]
    assert not asked_again, (server.dropped_by_kernel(), server.notes)
    assert {record["result"] for record in records} == {"complete"}
    assert sorted(record["file"] for record in records) == sorted(member.errand.name for member in members)
    assert server.children() == []
    assert server.dropped_by_kernel() == 0


@pytest.mark.slow
def test_500_small_transfers_at_once(server: RunningServer, root: Path) -> None:
    gets = small_files(root, range(400))
    puts = [Errand(Opcode.WRQ, f"sent-{number}", content(number, number), Wanted()) for number in range(100)]
    crowd = random.Random(1).sample([*gets, *puts], 500)
    check(server, send_crowd(crowd, server.address))
    for put in puts:
        assert (root / put.name).read_bytes() == put.content


@pytest.mark.slow
def test_the_supervisor_does_not_grow_with_the_transfers(root: Path) -> None:
    gets = small_files(root, range(200))
    resident_kib = []
    with modest_server(root) as server:
        for _ in range(3):
            check(server, send_crowd(gets, server.address))
            resident_kib.append(server.resident_kib())
    assert resident_kib[-1] <= resident_kib[0] + SLACK_KIB, resident_kib


@pytest.mark.slow
def test_200_files_of_a_mebibyte_at_once(server: RunningServer, root: Path) -> None:
    files = {f"file-{number}": content(number, 1 << 20) for number in range(8)}
    for name, whole in files.items():
        (root / name).write_bytes(whole)
    wanted = Wanted(blksize=1428, windowsize=16, tsize=0)
    errands = [Errand(Opcode.RRQ, name, whole, wanted) for name, whole in files.items()] * 25
    check(server, send_crowd(errands, server.address))
