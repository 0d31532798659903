from __future__ import annotations

import json
from dataclasses import replace

import pytest

from blockstep.protocol.machine import TransferStats
from blockstep.protocol.options import Agreed
from blockstep_client.address import parse_target
from blockstep_client.jobs import Direction, Job
from blockstep_client.result import Failure, TransferResult

KEYS = [
    *["op", "ok", "remote", "local", "transport", "peer", "mode", "bytes", "seconds", "blksize", "windowsize"],
    *["timeout_s", "tsize", "blocks", "resends", "timeouts", "duplicates", "srtt_s", "error", "exit_code"],
]


def result(size: int = 0, seconds: float = 1.0, failure: Failure | None = None) -> TransferResult:
    return TransferResult(
        job=Job(Direction.GET, parse_target("h:a\x1b\udcff"), "b\x1b\udcff"),
        mode="octet",
        seconds=seconds,
        agreed=Agreed(blksize=1428, windowsize=16),
        stats=TransferStats(payload_bytes=size, resends=2),
        failure=failure,
    )


def test_the_json_is_one_ascii_line_with_these_keys() -> None:
    line = result(5).to_json()
    assert line.isascii()
    assert line.isprintable()
    assert list(json.loads(line)) == KEYS


def test_a_failure_stands_in_the_json() -> None:
    found = json.loads(result(failure=Failure("timed_out", "no answer", 28)).to_json())
    assert (found["ok"], found["exit_code"]) == (False, 28)
    assert found["error"] == {"kind": "timed_out", "code": None, "message": "no answer"}


@pytest.mark.parametrize(
    ("size", "said"),
    [
        (0, "0 B in 2.00 s (0 B/s)"),
        (1023, "1023 B in 2.00 s (512 B/s)"),
        (10_240, "10.0 KiB in 2.00 s (5.0 KiB/s)"),
        (3 * 2**30, "3.0 GiB in 2.00 s (1.5 GiB/s)"),
    ],
)
def test_the_line_for_people(size: int, said: str) -> None:
    line = result(size, seconds=2.0).line()
    assert said in line
    assert line.endswith("blksize 1428, windowsize 16, resends 2")
    assert line.isprintable()


def test_a_stream_has_no_windows_and_no_resends() -> None:
    over_tcp = replace(result(5), job=Job(Direction.GET, parse_target("tftp+tcp://h/a"), "b"))
    assert over_tcp.line().endswith("blksize 1428")


def test_no_time_has_no_rate() -> None:
    assert "(-)" in result(5, seconds=0.0).line()
