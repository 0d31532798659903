from __future__ import annotations

import os
import signal

from blockstep_lab.compare.separate import here, undisturbed


def test_here_is_this_machine_in_another_process() -> None:
    host = here()
    pid, network = host.call(lambda: (os.getpid(), os.stat("/proc/self/ns/net").st_ino))
    assert pid != os.getpid()
    assert network == os.stat("/proc/self/ns/net").st_ino
    assert host.address == "127.0.0.1"


def interrupted() -> str:
    os.kill(os.getpid(), signal.SIGINT)
    return "went on"


def test_a_child_leaves_ctrl_c_to_its_parent() -> None:
    assert here().call(undisturbed, interrupted) == "went on"
