from __future__ import annotations

import os
import signal

import pytest

from blockstep_lab.netns.lab import Lab
from blockstep_lab.netns.sweep import end_processes, processes_in

pytestmark = pytest.mark.netns


def test_only_processes_of_the_host_are_found(shared_lab: Lab) -> None:
    network = os.fstat(shared_lab.left.namespaces.net).st_ino
    task = shared_lab.left.start(signal.pause)
    other = shared_lab.right.start(signal.pause)
    with shared_lab.left.popen(["sleep", "1000"]) as program:
        assert {task.pid, program.pid} <= set(processes_in({network}))
        assert other.pid not in set(processes_in({network}))
        assert end_processes({network}) >= 2
        assert program.wait(10) == -signal.SIGKILL
    assert list(processes_in({network})) == []
    for each in (task, other):
        each.kill()


def test_nobody_there_is_nobody_ended() -> None:
    assert end_processes({0}) == 0
