from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner

from blockstep_lab.lab_command import lab
from support.labs import import_path

BLOCKSTEP = [sys.executable, "-m", "blockstep", "lab"]
PATIENCE_S = 120
_START_LINES = 6


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return {**import_path(), "XDG_RUNTIME_DIR": os.fspath(tmp_path)}


@contextmanager
def running_shell(environment: dict[str, str], *words: str) -> Iterator[subprocess.Popen[str]]:
    argv = [*BLOCKSTEP, "shell", *words]
    shell = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    with shell:
        try:
            assert shell.stderr is not None
            lines = [shell.stderr.readline() for _ in range(_START_LINES)]
            assert "blockstep lab exec left" in lines[-1], lines
            yield shell
        finally:
            shell.kill()


def execute(environment: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    argv = [*BLOCKSTEP, "exec", *words]
    return subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=PATIENCE_S, check=False)


@pytest.mark.netns
def test_another_terminal_runs_programs_on_the_hosts(environment: dict[str, str], tmp_path: Path) -> None:
    pcap = tmp_path / "link.pcapng"
    with running_shell(environment, "delay", "1ms", "--seed", "7", "--pcap", str(pcap), "--json") as shell:
        networks = set()
        for host in ("left", "right"):
            found = execute(environment, host, "--", "readlink", "/proc/self/ns/net")
            assert found.returncode == 0, found
            networks.add(found.stdout)
        assert len(networks) == 2
        assert execute(environment, "left", "sh", "-c", "exit 7").returncode == 7
        ask = "import socket; s = socket.socket(2, 2); s.sendto(b'x', ('198.19.0.1', 9)); print(s.getsockname()[1])"
        assert execute(environment, "left", "--", sys.executable, "-c", ask).returncode == 0
        shell.send_signal(signal.SIGINT)
        output, _ = shell.communicate(timeout=PATIENCE_S)
    said = json.loads(output)
    assert (said["seed"], said["left_to_right"]["conditions"]) == ("7", "delay 1ms")
    assert said["left_to_right"]["counters"]["packets"] == 1
    assert list((tmp_path / "blockstep").iterdir()) == []
    assert pcap.stat().st_size > 0


@pytest.mark.netns
def test_what_cannot_be_run_is_told(environment: dict[str, str]) -> None:
    with running_shell(environment):
        unknown = execute(environment, "middle", "true")
        assert (unknown.returncode, unknown.stderr) == (
            1,
            "blockstep: no host 'middle' in this lab; there is left, right\n",
        )
        assert execute(environment, "left", "/no/such/program").returncode == 127
        assert execute(environment, "left", "/").returncode == 126
        assert execute(environment, "left", "--").returncode == 2
        assert execute(environment, "--lab", "1", "left", "true").returncode == 1


@pytest.mark.netns
def test_a_program_of_another_terminal_ends_with_the_lab(environment: dict[str, str]) -> None:
    with running_shell(environment) as shell:
        argv = [*BLOCKSTEP, "exec", "left", "--", "sh", "-c", "echo started; exec sleep 1000"]
        with subprocess.Popen(argv, env=environment, stdout=subprocess.PIPE) as program:
            assert program.stdout is not None
            assert program.stdout.readline() == b"started\n"
            shell.kill()
            assert program.wait(PATIENCE_S) == -signal.SIGKILL


def test_without_a_lab_there_is_nothing_to_run_on(environment: dict[str, str]) -> None:
    none = execute(environment, "left", "true")
    assert none.returncode == 1
    assert "no lab is running for this user; start one with: blockstep lab shell" in none.stderr


def test_a_misspelt_link_is_answered_with_the_nearest() -> None:
    result = CliRunner().invoke(lab, ["shell", "dealy", "5ms"])
    assert result.exit_code == 2
    assert "did you mean 'delay'?" in result.stderr
