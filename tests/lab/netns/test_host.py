from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import pytest

from blockstep.protocol.errors import LocalError
from blockstep_lab.netns.lab import Lab

pytestmark = pytest.mark.netns


class Stubborn(Exception):
    def __reduce__(self) -> str:
        raise TypeError("not to be pickled")


def fail(error: Exception) -> None:
    raise error


def test_a_program_runs_as_subprocess_would_run_it(shared_lab: Lab) -> None:
    result = shared_lab.left.run(["sh", "-c", "cat; echo no >&2; exit 3"], input="in", capture_output=True, text=True)
    assert (result.returncode, result.stdout, result.stderr) == (3, "in", "no\n")


def test_check_and_timeout_are_subprocess_own(shared_lab: Lab) -> None:
    with pytest.raises(subprocess.CalledProcessError):
        shared_lab.left.run(["false"], check=True)
    with pytest.raises(subprocess.TimeoutExpired):
        shared_lab.left.run(["sleep", "100"], timeout=0.05)


def test_a_missing_program_is_a_missing_program(shared_lab: Lab) -> None:
    with pytest.raises(FileNotFoundError):
        shared_lab.left.run(["/no/such/program"])


def test_the_way_in_cannot_be_replaced(shared_lab: Lab) -> None:
    with pytest.raises(LocalError, match="preexec_fn"):
        shared_lab.left.popen(["true"], preexec_fn=os.getpid)


def test_hosts_are_different_networks(shared_lab: Lab) -> None:
    networks = {os.stat("/proc/self/ns/net").st_ino}
    networks |= {host.call(os.stat, "/proc/self/ns/net").st_ino for host in shared_lab.hosts.values()}
    assert len(networks) == 3


def test_a_function_gets_its_arguments_and_gives_its_result(shared_lab: Lab) -> None:
    assert shared_lab.left.call(lambda one, two: one + two, "a", "b") == "ab"
    assert shared_lab.left.call(bytes, 1 << 20) == bytes(1 << 20)


def test_what_a_function_raises_is_raised(shared_lab: Lab) -> None:
    with pytest.raises(KeyError, match="gone"):
        shared_lab.left.call(fail, KeyError("gone"))
    with pytest.raises(LocalError, match="Stubborn: mule"):
        shared_lab.left.call(fail, Stubborn("mule"))


def test_a_child_that_just_dies_is_told(shared_lab: Lab) -> None:
    with pytest.raises(LocalError, match="without a result, status 9"):
        shared_lab.left.call(os._exit, 9)


def test_a_function_may_take_too_long(shared_lab: Lab) -> None:
    with pytest.raises(TimeoutError):
        shared_lab.left.call(signal.pause, timeout_s=0.05)
    task = shared_lab.left.start(signal.pause)
    with pytest.raises(TimeoutError):
        task.result(0.01)
    task.kill()
    task.kill()


def test_functions_run_at_the_same_time(shared_lab: Lab) -> None:
    with shared_lab.left.open_socket() as one, shared_lab.right.open_socket() as other:
        for each, host in ((one, shared_lab.left), (other, shared_lab.right)):
            each.bind((host.address, 0))
            each.settimeout(10)

        def say_and_hear(mine: str) -> bytes:
            sock, peer = (one, other) if mine == "left" else (other, one)
            sock.sendto(mine.encode(), peer.getsockname())
            return sock.recv(100)

        left = shared_lab.left.start(say_and_hear, "left")
        right = shared_lab.right.start(say_and_hear, "right")
        assert (left.result(10), right.result(10)) == (b"right", b"left")


def test_threads_may_start_programs(shared_lab: Lab) -> None:
    found: list[bytes] = []
    start = threading.Thread(
        target=lambda: found.append(shared_lab.left.run(["echo", "hi"], capture_output=True, check=True).stdout)
    )
    start.start()
    start.join()
    assert found == [b"hi\n"]


def test_what_is_left_running_ends_with_the_lab() -> None:
    with Lab() as lab:
        programs = [host.popen(["sleep", "1000"]) for host in lab.hosts.values()]
        deaf = lab.left.popen(
            [
                sys.executable,
                "-c",
                "import signal; signal.signal(15, signal.SIG_IGN); print(flush=True); signal.pause()",
            ],
            stdout=subprocess.PIPE,
        )
        assert deaf.stdout is not None
        deaf.stdout.readline()
        lab.left.start(signal.pause)
    deaf.stdout.close()
    assert [program.returncode for program in programs] == [-signal.SIGTERM] * 2
    assert deaf.returncode == -signal.SIGKILL
