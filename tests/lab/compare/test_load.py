from __future__ import annotations

import socket
import time
from dataclasses import replace
from pathlib import Path

import pytest

from blockstep_lab.compare.load import Ended, Interval, Load, LoadResult, put_load
from blockstep_lab.compare.transfer import Transfer
from blockstep_lab.simulation import content_of
from support.processes import running_server

CONTENT = content_of(100_000)


def load(transport: str, where: tuple[str, int], **changes: object) -> Load:
    transfer = Transfer(transport=transport, blksize=8192, windowsize=8, name="file", max_time_s=5)
    plan = Load(transfer=transfer, where=where, sessions=2, duration_s=0.6, interval_s=0.2)
    return replace(plan, **changes)  # type: ignore[arg-type]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "file").write_bytes(CONTENT)
    return tmp_path


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_every_byte_and_every_end_is_counted(root: Path, transport: str) -> None:
    told: list[Interval] = []
    with running_server(root, "--tcp", "0") as running:
        where = running.peer()
        if transport == "tcp":
            listed = next(each for each in running.ready["addresses"] if "tcp" in each)
            where = (where[0], int(listed.split()[0].rpartition(":")[2]))
        result = put_load(load(transport, where), told.append)
        while running.children():
            time.sleep(0.01)
    assert told == result.intervals
    assert len(told) == 3
    total = result.total
    assert total.failed == 0
    assert total.ok == len(result.ended) > 0
    assert total.file_bytes >= total.ok * len(CONTENT)
    assert total.file_bytes < (total.ok + 2) * len(CONTENT) + 1
    assert total.end_s == pytest.approx(0.6, abs=0.4)
    assert all(0 < each.took_s <= each.at_s for each in result.ended)


def test_failures_are_counted_with_their_reasons(root: Path) -> None:
    with running_server(root) as running:
        missing = load("udp", running.peer())
        result = put_load(replace(missing, transfer=replace(missing.transfer, name="nothing")), lambda _: None)
        while running.children():
            time.sleep(0.01)
    assert result.total.ok == result.total.file_bytes == 0
    assert result.total.failed >= 2
    assert {each.failure for each in result.ended} == {"file not found"}


def test_what_the_end_cuts_off_is_neither() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        result = put_load(load("udp", silent.getsockname(), duration_s=0.3), lambda _: None)
    assert (result.total.ok, result.total.failed) == (0, 0)


def test_a_transfer_over_its_own_time_has_failed() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        slow = load("udp", silent.getsockname(), duration_s=0.8, sessions=1)
        result = put_load(replace(slow, transfer=replace(slow.transfer, max_time_s=0.2)), lambda _: None)
    assert result.total.failed >= 1


def test_ctrl_c_ends_it_early_with_what_there_is() -> None:
    def interrupt(_interval: Interval) -> None:
        if len(seen) == 1:
            return
        seen.append(_interval)
        raise KeyboardInterrupt

    seen: list[Interval] = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        begun_at = time.monotonic()
        result = put_load(load("udp", silent.getsockname(), duration_s=60.0, interval_s=0.1), interrupt)
    assert time.monotonic() - begun_at < 10
    assert len(result.intervals) == 2


def test_an_interval_has_a_rate() -> None:
    assert Interval(1.0, 3.0, 1000, 0, 0).bit_s == 4000
    assert Interval(1.0, 1.0, 1000, 0, 0).bit_s == 0


def test_the_whole_is_the_sum() -> None:
    result = LoadResult(load("udp", ("127.0.0.1", 9)), [Interval(0, 1, 10, 1, 2), Interval(1, 2, 20, 3, 4)])
    assert result.total == Interval(0.0, 2, 30, 4, 6)
    assert LoadResult(result.load, [], [Ended(1.0, 1.0, None)]).total == Interval(0.0, 0.0, 0, 0, 0)
