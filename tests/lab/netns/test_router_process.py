"""The life of the router's process: nothing of a lab outlives the program that wanted it, however that ended."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from blockstep.protocol.errors import LocalError
from blockstep_lab.netns.lab import Lab
from blockstep_lab.netns.router_process import link_from_json, link_to_json
from blockstep_lab.netns.sweep import processes_in
from support.labs import import_path

pytestmark = pytest.mark.netns
PATIENCE_S = 20.0

# A program with a lab in which everything runs that could be left behind: also a daemon whose parents are gone.
PROGRAM = """
import json, os, signal, sys
from blockstep_lab.netns.lab import Lab

lab = Lab("delay 5ms", seed=1)
daemon = lab.left.run(["sh", "-c", "setsid sleep 1000 >/dev/null 2>&1 & echo $!"], capture_output=True, text=True)
program = lab.right.popen(["sleep", "1000"])
task = lab.right.start(signal.pause)
networks = [os.fstat(host.namespaces.net).st_ino for host in lab.hosts.values()]
pids = {"router": lab.router_pid, "daemon": int(daemon.stdout), "program": program.pid, "task": task.pid}
print(json.dumps({"pids": pids, "networks": networks}), flush=True)
signal.pause()
"""


def start_program() -> tuple[subprocess.Popen[bytes], dict[str, Any]]:
    program = subprocess.Popen([sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, env=import_path())
    assert program.stdout is not None
    with program.stdout:
        return program, json.loads(program.stdout.readline())


def wait_until_gone(facts: dict[str, Any]) -> None:
    ends_at = time.monotonic() + PATIENCE_S
    while living := [name for name, pid in facts["pids"].items() if is_alive(pid)]:
        assert time.monotonic() < ends_at, f"left behind: {living}"
        time.sleep(0.01)
    assert list(processes_in(set(facts["networks"]))) == []


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_program_that_is_killed_leaves_nothing() -> None:
    devices = os.listdir("/sys/class/net")
    program, facts = start_program()
    assert all(is_alive(pid) for pid in facts["pids"].values())
    program.kill()
    program.wait()
    wait_until_gone(facts)
    assert os.listdir("/sys/class/net") == devices


def test_a_program_that_just_exits_leaves_nothing() -> None:
    program, facts = start_program()
    program.terminate()
    program.wait()
    wait_until_gone(facts)


def test_a_router_that_is_killed_is_missed_and_the_rest_is_ended() -> None:
    with Lab() as lab:
        daemon = lab.left.run(
            ["sh", "-c", "setsid sleep 1000 >/dev/null 2>&1 & echo $!"], capture_output=True, text=True
        )
        os.kill(lab.router_pid, signal.SIGKILL)
        with pytest.raises(LocalError, match="router is gone"):
            lab.checks()
    assert not is_alive(int(daemon.stdout))


def test_an_interrupt_at_the_terminal_is_the_programs_affair() -> None:
    with Lab() as lab:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            os.kill(lab.router_pid, number)
        assert lab.checks().ok


def test_a_link_comes_through_json_as_it_was() -> None:
    from blockstep_lab.conditions import Conditions
    from blockstep_lab.netns.router import LinkSetup
    from blockstep_lab.rules import Rule

    rules = [Rule.parse("down drop OACK first")]
    link = LinkSetup(Conditions.parse("loss gemodel 1% 25%"), Conditions(), "7", rules, True)
    assert link_from_json(json.loads(json.dumps(link_to_json(link)))) == link
