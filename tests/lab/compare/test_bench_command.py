from __future__ import annotations

import json
import socket
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from blockstep_lab.bench_command import bench
from support.processes import RunningServer, running_server


def run(*arguments: str) -> Result:
    return CliRunner().invoke(bench, arguments, standalone_mode=False)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "file").write_bytes(bytes(20_000))
    return tmp_path


def await_children(running: RunningServer) -> None:
    while running.children():
        time.sleep(0.01)


def test_lines_come_as_intervals_end(root: Path) -> None:
    with running_server(root) as running:
        result = run(running.url("file"), "-P", "2", "-t", "0.4", "-i", "0.2", "-b", "4096", "-w", "4")
        await_children(running)
    assert result.return_value == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0].startswith("2 sessions fetch ")
    assert lines[1].split() == ["Interval", "Transfer", "Bitrate", "ok", "failed"]
    assert [line.split()[1] for line in (*lines[2:4], lines[5])] == ["sec"] * 3
    assert lines[6].startswith("time of a transfer: p50 ")


def test_json_is_one_object(root: Path) -> None:
    with running_server(root) as running:
        result = run(running.url("file"), "-t", "0.2", "-J")
        await_children(running)
    raw = json.loads(result.stdout)
    assert raw["start"]["blksize"] == 1428
    assert raw["end"]["ok"] > 0
    assert result.return_value == 0


def test_failures_are_the_exit_code() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    result = run(f"tftp://127.0.0.1:{port}/file", "-t", "0.2", "-i", "0")
    assert result.return_value == 1
    assert "no server listens there" in result.stdout


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("tftp://127.0.0.1/", "names no file"),
        ("nonsense", "not a remote file"),
        ("tftp://no-such-host.invalid/file", "no-such-host.invalid: "),
    ],
)
def test_a_wrong_address_is_said_before_anything_begins(url: str, message: str) -> None:
    result = CliRunner().invoke(bench, [url])
    assert message in result.stderr
    assert result.exit_code in (2, 6)


def test_a_socket_in_the_file_system_will_do(root: Path) -> None:
    with running_server(root, "--unix", str(root / "socket")) as running:
        result = run(f"tftp+unix://{root / 'socket'}:file", "-t", "0.2", "-J")
        await_children(running)
    assert json.loads(result.stdout)["start"]["blksize"] == 256 * 1024
    assert result.return_value == 0
