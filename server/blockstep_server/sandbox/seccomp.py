"""seccomp: a process gives up, for good, every system call that is not on a list.

Decided here: what happens to a call that is not on it. It fails with EPERM, and the process goes on. A new C library
that tries a call we have not heard of then falls back, or raises an ordinary OSError, which ends one transfer with an
ERROR to the peer, a line in the log and nothing half-done; a kill would leave all three out. Calls that no code of ours
can lead to, which start a program or reach for another process, kill: there it is no longer our code that runs. So does
a call in another architecture's convention, whose numbers would mean other calls.
"""

from __future__ import annotations

import ctypes
import errno
import platform
import struct

from blockstep_server import kernel
from blockstep_server.sandbox.bpf import Verdict, assemble
from blockstep_server.sandbox.syscalls import DEADLY, NUMBERS, Checks

__all__ = ["Filter", "filter_for"]

_ALLOW = 0x7FFF0000
_REFUSE = 0x00050000 | errno.EPERM
_KILL_PROCESS = 0x80000000

# machine: (its column in NUMBERS, AUDIT_ARCH_*, number of seccomp)
_MACHINES = {"x86_64": (0, 0xC000003E, 317), "aarch64": (1, 0xC00000B7, 277)}

_SET_MODE_FILTER = 1
# Without it older kernels switch off speculation for the process as well, which costs more than everything here.
_SPECULATION_ALLOWED = 1 << 2
_INSTRUCTION_BYTES = 8
_PROGRAM = struct.Struct("@HP")  # struct sock_fprog


class Filter:
    """A compiled list, ready to be put in force. Make it before the fork: it costs a child one system call then."""

    def __init__(self, program: bytes, seccomp_number: int) -> None:
        self.program = program
        self._memory = ctypes.create_string_buffer(program, len(program))
        header = _PROGRAM.pack(len(program) // _INSTRUCTION_BYTES, ctypes.addressof(self._memory))
        self._header = ctypes.create_string_buffer(header, len(header))
        self._call = (seccomp_number, _SET_MODE_FILTER, _SPECULATION_ALLOWED, ctypes.addressof(self._header))

    def enforce(self) -> None:
        """Put this process under the filter for good. OSError; needs no_new_privs or CAP_SYS_ADMIN."""
        kernel.system_call(*self._call)


def filter_for(checks: Checks, machine: str | None = None) -> Filter:
    """The filter that allows `checks` alone. OSError (ENOSYS) for a machine whose numbers we do not have."""
    machine = platform.machine() if machine is None else machine
    if machine not in _MACHINES:
        raise OSError(errno.ENOSYS, f"no list of system calls for {machine}")
    column, architecture, seccomp_number = _MACHINES[machine]
    allowed = {name: Verdict(_ALLOW, each) for name, each in checks.items()}
    deadly = dict.fromkeys(DEADLY, Verdict(_KILL_PROCESS))
    verdicts = {}
    for name, verdict in {**deadly, **allowed}.items():
        number = NUMBERS[name][column]
        if number is not None:
            verdicts[number] = verdict
    return Filter(assemble(architecture, verdicts, otherwise=_REFUSE, foreign=_KILL_PROCESS), seccomp_number)
