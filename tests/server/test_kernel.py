from __future__ import annotations

import os
import subprocess
import sys

import pytest

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="these are Linux's own calls")


def run(script: str) -> str:
    """In a process of its own: what these calls do cannot be taken back."""
    script = "from blockstep_server import kernel\n" + script
    return subprocess.run([sys.executable, "-c", script], env=_env(), capture_output=True, text=True, check=True).stdout


def _env() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}


@LINUX
def test_new_privileges_are_forbidden() -> None:
    read = "print(open('/proc/self/status').read().split('NoNewPrivs:')[1].split()[0])"
    assert run(f"assert kernel.forbid_new_privileges()\n{read}") == "1\n"


@LINUX
def test_the_signal_of_a_parents_death_can_be_set() -> None:
    assert run("print(kernel.die_with_parent(15))") == "True\n"


@LINUX
def test_an_impossible_signal_is_an_os_error() -> None:
    script = "try: kernel.die_with_parent(12345)\nexcept OSError as error: print(error.errno)"
    assert run(script) == "22\n"


@LINUX
def test_all_capabilities_can_be_given_up() -> None:
    read = "print(open('/proc/self/status').read().split('CapPrm:')[1].split()[0])"
    assert int(run(f"assert kernel.set_capabilities(0)\n{read}"), 16) == 0


@LINUX
def test_elsewhere_the_calls_do_nothing_and_say_so() -> None:
    script = "kernel._LIBC = None\nprint(kernel.die_with_parent(15), kernel.set_capabilities(0))"
    assert run(script) == "False False\n"


@LINUX
def test_a_system_call_by_its_number() -> None:
    script = """
import os
print(kernel.system_call(39 if os.uname().machine == "x86_64" else 172) == os.getpid())
try: kernel.system_call(10**6)
except OSError as error: print(error.errno)
"""
    assert run(script).split() == ["True", "38"]


@LINUX
def test_the_capabilities_that_are_held() -> None:
    script = """
held = int(open("/proc/self/status").read().split("CapPrm:")[1].split()[0], 16)
print(kernel.capabilities() == held)
kernel.forget_capabilities(all_but=1 << 10)
bound = int(open("/proc/self/status").read().split("CapBnd:")[1].split()[0], 16)
print(bound & ~(1 << 10) == 0 or not held)
"""
    assert run(script).split() == ["True", "True"]
