from __future__ import annotations

import contextlib
import json
import os
import select
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blockstep_server.config import LogFormat
from blockstep_server.log_output import LogOutput
from blockstep_server.report import Reporter, Result, TransferRecord

RECORD = TransferRecord(
    peer="192.0.2.1:2070",
    local="192.0.2.99:69",
    op="read",
    file="pxelinux.0",
    mode="octet",
    options={"blksize": 1428, "tsize": 26579},
    payload_bytes=26579,
    seconds=0.5,
    blocks=19,
    resends=2,
    result=Result.COMPLETE,
    status=0,
)


class Log:
    """A reporter whose lines can be read."""

    def __init__(self, log_format: LogFormat = LogFormat.TEXT, verbosity: int = 0) -> None:
        self._read_fd, self._write_fd = os.pipe()
        self.reporter = Reporter(LogOutput(self._write_fd), log_format, verbosity)

    def close(self) -> None:
        os.close(self._read_fd)
        os.close(self._write_fd)

    def lines(self) -> list[str]:
        found = b""
        while select.select([self._read_fd], [], [], 0)[0]:
            found += os.read(self._read_fd, 1 << 16)
        return found.decode().splitlines()


@pytest.fixture
def log() -> Iterator[Log]:
    log = Log()
    yield log
    log.close()


def test_a_record_survives_the_pipe() -> None:
    line = RECORD.to_line(77)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert TransferRecord.from_line_untrusted(line) == (77, RECORD)


@given(st.text(st.characters(codec=None), max_size=600), st.text(max_size=300))
def test_a_record_of_any_name_fits_into_one_write(file: str, detail: str) -> None:
    line = replace(RECORD, file=file, detail=detail).to_line(77)
    assert len(line) <= select.PIPE_BUF
    pid, record = TransferRecord.from_line_untrusted(line)
    assert pid == 77
    assert file.startswith(record.file)
    assert detail.startswith(record.detail)


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{}",
        b"[]",
        b"nonsense",
        b'{"kind": "transfer"}',
        b'{"kind": "transfer", "pid": true, "peer": ""}',
        b'{"kind": "transfer", "pid": 1}',
        b'{"kind": "other", "pid": 1, "peer": ""}',
        b'{"kind": "transfer", "pid": 1, "peer": 5}',
        b'{"kind": "transfer", "pid": 1, "peer": "", "status": "0"}',
        b'{"kind": "transfer", "pid": 1, "peer": "", "result": "splendid"}',
        b'{"kind": "transfer", "pid": 1, "peer": "", "options": {"a": "b"}}',
        b'{"kind": "transfer", "pid": 1, "peer": "", "surprise": 1}',
        b"\xff\xff",
        b"9" * 5000,
        b"[" * 4000,
    ],
)
def test_a_line_that_is_no_record_is_a_value_error(line: bytes) -> None:
    with pytest.raises(ValueError):
        TransferRecord.from_line_untrusted(line)


FIELDS = st.sampled_from([*RECORD.__dataclass_fields__, "kind", "pid"])


@given(st.dictionaries(FIELDS, st.none() | st.text() | st.integers()))
def test_any_fields_are_a_record_or_a_value_error(fields: dict[str, Any]) -> None:
    line = json.dumps({"kind": "transfer", "pid": 1, "peer": "", **fields}).encode()
    with contextlib.suppress(ValueError):
        TransferRecord.from_line_untrusted(line)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {},
            "complete, 26579 bytes in 0.500 s (0.1 MB/s), octet, blksize 1428, 2 resends",
        ),
        (
            {"result": Result.FAILED, "detail": "no progress for 24.0 s", "code": 0},
            "failed: no progress for 24.0 s (error 0), after 26579 bytes in 0.500 s (0.1 MB/s), 2 resends",
        ),
        (
            {"result": Result.REFUSED, "detail": "file not found", "code": 1},
            "refused: file not found (error 1)",
        ),
        (
            {"result": Result.PROBE, "detail": "bye", "code": 0},
            "probe, asked for the size only",
        ),
        ({"result": Result.CRASHED, "detail": "killed by signal 9"}, "crashed: killed by signal 9"),
    ],
)
def test_the_line_for_people(changes: dict[str, Any], expected: str) -> None:
    assert replace(RECORD, **changes).text() == f"read pxelinux.0 for 192.0.2.1:2070: {expected}"


def test_the_line_of_a_request_that_nobody_read() -> None:
    assert TransferRecord(peer="192.0.2.1:2070", detail="why").text() == "request for 192.0.2.1:2070: crashed: why"


def test_what_a_peer_says_is_escaped(log: Log) -> None:
    nasty = "\x1b[31mred\r\n2026 read forged for 10.0.0.1: complete\u202e\udcff"
    log.reporter.transfer(replace(RECORD, file=nasty, result=Result.FAILED, detail=nasty))
    (line,) = log.lines()
    assert line.isprintable()
    assert "\\x1b" in line


def test_json_lines_hold_the_whole_record() -> None:
    log = Log(LogFormat.JSON)
    log.reporter.transfer(RECORD)
    (line,) = log.lines()
    said = json.loads(line)
    assert said["event"] == "transfer"
    assert "time" in said
    assert said["options"] == {"blksize": 1428, "tsize": 26579}
    assert said["result"] == "complete"
    log.close()


def test_the_ready_line_has_addresses_and_a_line_to_paste(log: Log) -> None:
    log.reporter.ready(
        serving="/srv/tftp",
        addresses=["127.0.0.1:6969 (udp)", "[::1]:6969 (udp)"],
        policy="read-only",
        try_line="try: blockstep get tftp://127.0.0.1:6969/NAME",
    )
    assert log.lines() == [
        "blockstep: serving /srv/tftp on 127.0.0.1:6969 (udp), [::1]:6969 (udp), read-only",
        "try: blockstep get tftp://127.0.0.1:6969/NAME",
    ]


@pytest.mark.parametrize(
    ("verbosity", "results"),
    [
        (-1, {"failed", "refused", "crashed"}),
        (0, {"failed", "refused", "crashed", "complete", "probe"}),
        (1, {each.value for each in Result}),
    ],
)
def test_how_much_is_told(verbosity: int, results: set[str]) -> None:
    log = Log(LogFormat.JSON, verbosity)
    for result in Result:
        log.reporter.transfer(replace(RECORD, result=result))
    assert {json.loads(line)["result"] for line in log.lines()} == results
    log.close()


def test_refusals_are_counted_and_told_in_one_line(log: Log) -> None:
    log.reporter.count_refusal("over --max-sessions", "192.0.2.1:5")
    for port in range(999):
        log.reporter.count_refusal("not an allowed network", f"192.0.2.2:{port}")
    assert log.lines() == []
    assert log.reporter.flush_refusals()
    assert not log.reporter.flush_refusals()
    (line,) = log.lines()
    assert line == (
        "blockstep: not served: 1 over --max-sessions, 999 not an allowed network; the last from 192.0.2.2:998"
    )
