from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from blockstep.protocol.wire import ack_bytes
from blockstep_server.priority import AHEAD
from support.alone import run_alone
from support.processes import running_server


def _may_go_first() -> bool:
    return run_alone("from blockstep_server import priority\nprint(priority.go_first())") != ["0"]


FIRST = pytest.mark.skipif(not _may_go_first(), reason="only root may raise a priority")


def nice_of(pid: int) -> int:
    return os.getpriority(os.PRIO_PROCESS, pid)


@FIRST
@pytest.mark.parametrize("options", [(), ("--no-sandbox",), ("--nice", "3")])
def test_the_supervisor_goes_before_its_children_and_they_stand_where_it_was_started(
    tmp_path: Path, options: tuple[str, ...]
) -> None:
    (tmp_path / "file").write_bytes(b"x")
    here = nice_of(0)
    asked_for = int(options[1]) if "--nice" in options else 0
    with running_server(tmp_path, *options) as server, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(10)
        client.sendto(b"\0\1file\0octet\0", server.peer())
        _, child = client.recvfrom(600)
        (pid,) = server.children()
        assert nice_of(server.pid) == max(here - AHEAD, -20)
        assert nice_of(pid) == here + asked_for
        client.sendto(ack_bytes(1), child)
        server.await_record("file")


@FIRST
def test_a_raise_can_be_taken_back_and_is_no_higher_than_there_is() -> None:
    script = """
    from blockstep_server import priority
    os.setpriority(os.PRIO_PROCESS, 0, -15)
    steps = priority.go_first()
    print(steps, os.getpriority(os.PRIO_PROCESS, 0))
    priority.fall_back(steps)
    print(os.getpriority(os.PRIO_PROCESS, 0))
    """
    assert run_alone(script) == ["5 -20", "-15"]


@pytest.mark.skipif(os.geteuid() != 0, reason="it takes root to give the right up")
def test_without_the_right_everything_stays_as_it_is() -> None:
    script = """
    from blockstep_server import priority
    os.setresuid(65534, 65534, 65534)
    before = os.getpriority(os.PRIO_PROCESS, 0)
    print(priority.go_first(), os.getpriority(os.PRIO_PROCESS, 0) == before)
    """
    assert run_alone(script) == ["0 True"]
