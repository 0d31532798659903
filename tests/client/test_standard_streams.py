"""`get` and `put` whose standard input, output or error is missing, full, gone, or a terminal."""

from __future__ import annotations

import os
import pty
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from blockstep.transport.atomic import AtomicFileSink
from blockstep.transport.files import FileSource
from support.scripted_server import ScriptedServer, scripted, serve

CONTENT = b"line 1\nline 2"
PATIENCE_S = 60


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ScriptedServer]:
    root = tmp_path / "root"
    root.mkdir()
    for name in ("a", "b", "c"):
        (root / name).write_bytes(CONTENT)
    with scripted(
        serve(lambda name: FileSource(os.open(root / name, os.O_RDONLY)), lambda name: AtomicFileSink.at(root / name))
    ) as server:
        yield server


def shell(words: str, server: ScriptedServer, folder: Path) -> subprocess.CompletedProcess[str]:
    """`words` in a shell that knows `blockstep` and, as `$at`, the server."""
    blockstep = shlex.join([sys.executable, "-m", "blockstep"])
    script = f'blockstep() {{ {blockstep} "$@"; }}; at=127.0.0.1:{server.port}; set -o pipefail; {words}'
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = ["bash", "-c", script]
    return subprocess.run(
        command, cwd=folder, env=environ, capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )


def test_without_standard_error_a_file_is_fetched(server: ScriptedServer, tmp_path: Path) -> None:
    done = shell("blockstep get $at/a 2>&-", server, tmp_path)
    assert done.returncode == 0
    assert done.stdout.startswith("a <- ")
    assert (tmp_path / "a").read_bytes() == CONTENT


def test_without_standard_input_there_is_nothing_to_send(server: ScriptedServer, tmp_path: Path) -> None:
    done = shell("blockstep put - $at/new <&-", server, tmp_path)
    assert done.returncode == 26
    assert "the file cannot be read: bad file descriptor" in done.stderr
    assert server.requests == []


def test_without_standard_output_there_is_nowhere_to_write(server: ScriptedServer, tmp_path: Path) -> None:
    done = shell("blockstep get $at/a -o - >&-", server, tmp_path)
    assert done.returncode == 23
    assert "the file cannot be written: bad file descriptor" in done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_a_standard_output_that_is_full_keeps_no_file_from_coming(server: ScriptedServer, tmp_path: Path) -> None:
    done = shell("blockstep get $at/a $at/b $at/c >/dev/full", server, tmp_path)
    assert done.returncode == 23
    assert done.stderr == "blockstep: standard output takes no more: no space left on device\n"
    assert [(tmp_path / name).read_bytes() for name in ("a", "b", "c")] == [CONTENT] * 3


def test_nor_does_a_reader_that_has_gone(server: ScriptedServer, tmp_path: Path) -> None:
    """The reader is gone before the first line: with `head -1` it would be a race which line is the first to fail."""
    done = shell("blockstep get --json $at/a $at/b $at/c | exec true", server, tmp_path)
    assert [(tmp_path / name).read_bytes() for name in ("a", "b", "c")] == [CONTENT] * 3
    assert (done.returncode, done.stderr) in [
        (23, "blockstep: standard output takes no more: broken pipe\n"),
        (0, ""),  # three lines fit into a pipe that is still open
    ]


def test_a_file_that_goes_to_a_terminal_is_not_mixed_with_a_bar(server: ScriptedServer, tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-m", "blockstep", "get", f"127.0.0.1:{server.port}/a", "-o", "-"]
    done = subprocess.run(
        command, cwd=tmp_path, env=environ, stdout=theirs, stderr=theirs, timeout=PATIENCE_S, check=False
    )
    os.close(theirs)
    assert done.returncode == 0
    assert os.read(ours, 4096) == CONTENT.replace(b"\n", b"\r\n")
    os.close(ours)


def test_a_pipe_is_read_before_anybody_is_asked(server: ScriptedServer, tmp_path: Path) -> None:
    """A server that has agreed waits for some seconds only; and `--max-time` counts meanwhile."""
    done = shell("mkfifo pipe; blockstep put --max-time 0.2 - $at/new <>pipe", server, tmp_path)
    assert done.returncode == 28
    assert "the time limit is over" in done.stderr
    assert server.requests == []
