from __future__ import annotations

import os
import select
import signal

import pytest

from blockstep_lab.netns.forked import close_all_but, fork_child, is_running, reap

PATIENCE_S = 10.0


def test_a_child_ends_with_status_0() -> None:
    assert reap(fork_child(lambda: None), PATIENCE_S) == 0


def test_a_child_that_raises_ends_with_1_and_says_why(capfd: pytest.CaptureFixture[str]) -> None:
    def body() -> None:
        raise RuntimeError("out of luck")

    assert reap(fork_child(body), PATIENCE_S) == 1
    assert "out of luck" in capfd.readouterr().err


def test_sys_exit_does_not_lead_back_into_the_parent() -> None:
    assert reap(fork_child(lambda: exit(0)), PATIENCE_S) == 1


def test_one_that_does_not_end_is_killed() -> None:
    pid = fork_child(signal.pause)
    assert is_running(pid, 0.0)
    assert reap(pid, 0.0) == -signal.SIGKILL


def test_what_the_parent_closes_is_closed() -> None:
    read_end, write_end = os.pipe()

    def body() -> None:
        close_all_but({0, 1, 2})
        signal.pause()

    pid = fork_child(body)
    os.close(write_end)
    try:
        assert select.select([read_end], [], [], PATIENCE_S)[0], "the child holds the other end"
        assert os.read(read_end, 1) == b""
    finally:
        os.close(read_end)
        reap(pid, 0.0)
