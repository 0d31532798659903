"""A script in a process of its own, for what a process can do to itself only once: give up rights."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

__all__ = ["HEAD", "run_alone"]

HEAD = '''
import errno, os, resource, signal, socket, sys
from blockstep_server import kernel
from blockstep_server.sandbox import CannotConfine, Hold, Needs, Plan, landlock, limits, prepare, seccomp, syscalls
from blockstep_server.sandbox.landlock import Access

def outcome(attempt):
    """What comes of it, in one word."""
    try:
        attempt()
    except OSError as error:
        return errno.errorcode[error.errno]
    return "done"

def in_child(*steps):
    """The exit status of a child that does these steps, or minus the signal that killed it."""
    pid = os.fork()
    if pid == 0:
        try:
            for step in steps:
                step()
        finally:
            os._exit(sys.exc_info()[0] is not None)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
'''


def run_alone(script: str, *arguments: str) -> list[str]:
    """The lines that `script` prints, with `HEAD` before it; `arguments` are its `sys.argv[1:]`."""
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    argv = [sys.executable, "-W", "error", "-c", HEAD + textwrap.dedent(script), *arguments]
    done = subprocess.run(argv, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()
