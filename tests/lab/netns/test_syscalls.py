from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from blockstep_lab.netns.forked import fork_child, reap
from blockstep_lab.netns.namespaces import enter_user_namespace
from blockstep_lab.netns.syscalls import (
    CLONE_NEWNET,
    keep_capabilities_over_exec,
    setns,
    sharpen_timers,
    take_short_turns,
    unmount_lazily,
)


def test_an_error_names_the_call() -> None:
    with pytest.raises(OSError, match="setns") as caught:
        setns(-1, CLONE_NEWNET)
    assert caught.value.errno == errno.EBADF


def test_mount_calls_are_refused_with_their_errno(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="umount2") as caught:
        unmount_lazily(tmp_path)
    assert caught.value.errno in (errno.EINVAL, errno.EPERM)


@pytest.mark.netns
def test_programs_keep_what_an_ordinary_user_has_in_a_user_namespace() -> None:
    def body() -> None:
        enter_user_namespace()
        keep_capabilities_over_exec()
        os.execvp("grep", ["grep", "-q", "^CapEff:.*[1-9a-f]", "/proc/self/status"])

    assert reap(fork_child(body), 10.0) == 0


def test_short_turns_are_for_everybody_and_change_nothing_else() -> None:
    def body() -> None:
        take_short_turns()
        os._exit(0 if os.sched_getscheduler(0) == os.SCHED_OTHER and os.getpriority(os.PRIO_PROCESS, 0) == 0 else 3)

    assert reap(fork_child(body), 10.0) == 0


def test_timers_become_sharp() -> None:
    def body() -> None:
        sharpen_timers()
        with open("/proc/self/timerslack_ns") as file:
            slack = file.read().strip()
        os._exit(0 if slack == "1" else 3)

    assert reap(fork_child(body), 10.0) == 0
