from __future__ import annotations

import errno
import platform
import signal
from pathlib import Path

import pytest

from blockstep_server.sandbox import seccomp
from blockstep_server.sandbox.syscalls import DEADLY, NUMBERS, READER, WRITER
from support.alone import run_alone

KNOWN = pytest.mark.skipif(platform.machine() not in ("x86_64", "aarch64"), reason="no list for this machine")
ALLOW, EPERM, KILL = 0x7FFF0000, 0x00050001, 0x80000000


def actions(program: bytes) -> set[int]:
    import struct

    return {operand for operation, _, _, operand in struct.iter_unpack("=HBBI", program) if operation == 0x06}


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_a_filter_allows_refuses_or_kills(machine: str) -> None:
    assert actions(seccomp.filter_for(READER, machine).program) == {ALLOW, EPERM, KILL}


def test_another_machine_has_no_filter() -> None:
    with pytest.raises(OSError, match="vax") as caught:
        seccomp.filter_for(WRITER, "vax")
    assert caught.value.errno == errno.ENOSYS


@KNOWN
def test_what_is_not_on_the_list_fails_and_what_is_works(tmp_path: Path) -> None:
    script = """
    held = os.open(sys.argv[1] + "/held", os.O_RDWR | os.O_CREAT)
    kernel.forbid_new_privileges()
    seccomp.filter_for(syscalls.READER).enforce()
    print(outcome(lambda: os.open("/", os.O_RDONLY)), outcome(lambda: socket.socket()), outcome(lambda: os.kill(1, 0)))
    print(outcome(lambda: os.setuid(0)), outcome(lambda: os.stat("/")), outcome(lambda: os.unlink("/x")))
    print(outcome(lambda: os.write(held, b"x")), outcome(lambda: os.fstat(held)), outcome(lambda: os.fsync(held)))
    """
    assert run_alone(script, str(tmp_path)) == ["EPERM EPERM EPERM", "EPERM EPERM EPERM", "done done EPERM"]


@KNOWN
def test_no_memory_becomes_executable() -> None:
    script = """
    import mmap
    kernel.forbid_new_privileges()
    seccomp.filter_for(syscalls.READER).enforce()
    print(outcome(lambda: mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE)))
    print(outcome(lambda: mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_EXEC)))
    """
    assert run_alone(script) == ["done", "EPERM"]


@KNOWN
def test_of_ioctl_there_is_only_what_a_timeout_needs() -> None:
    script = """
    import fcntl, termios
    here, there = socket.socketpair()
    kernel.forbid_new_privileges()
    seccomp.filter_for(syscalls.READER).enforce()
    print(outcome(lambda: here.settimeout(1.0)), outcome(lambda: fcntl.ioctl(here, termios.TIOCSTI, b"x")))
    print(outcome(lambda: here.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 5000)))
    print(outcome(lambda: here.setsockopt(socket.SOL_SOCKET, 26, b"0" * 16)))
    """
    assert run_alone(script) == ["done EPERM", "done", "EPERM"]


@KNOWN
def test_who_starts_a_program_or_a_process_is_killed() -> None:
    column = ["x86_64", "aarch64"].index(platform.machine())
    numbers = [number for name in DEADLY if (number := NUMBERS[name][column]) is not None]
    script = f"""
    kernel.forbid_new_privileges()
    held = seccomp.filter_for(syscalls.CONNECTION)
    def call(number):
        return lambda: kernel.system_call(number, 0, 0, 0, 0)
    print({{in_child(held.enforce, call(number)) for number in {numbers}}})
    """
    assert run_alone(script) == [str({-int(signal.SIGSYS)})]
