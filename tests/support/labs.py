"""What tests of the lab in network namespaces share.

Decided here: how a test finds out that there can be no lab, and how it becomes an ordinary user. An ordinary user may
not be able to run this very interpreter (it may be in root's home), so another of the same version will do.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from functools import cache
from pathlib import Path

from blockstep_lab.netns.host import Host
from blockstep_lab.netns.lab import Lab
from blockstep_lab.netns.namespaces import LabUnavailable

__all__ = ["ROOT", "import_path", "obstacle", "ordinary_python", "udp_socket"]

ROOT = Path(__file__).parents[2]
PATIENCE_S = 10.0
_NOBODY = 65534


@cache
def obstacle() -> str:
    """Why there can be no lab here; empty if there can."""
    try:
        with Lab():
            return ""
    except LabUnavailable as error:
        return str(error)


def udp_socket(host: Host, port: int = 0) -> socket.socket:
    """A UDP socket on a host, with patience: what does not come fails the test instead of hanging it."""
    made = host.open_socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    made.bind((host.address, port))
    made.settimeout(PATIENCE_S)
    return made


@cache
def ordinary_python() -> list[str] | None:
    """The start of a command line that runs Python as an ordinary user; None if there is no way from here."""
    if os.geteuid() != 0:
        return [sys.executable]
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        return None
    drop = [setpriv, f"--reuid={_NOBODY}", f"--regid={_NOBODY}", "--clear-groups"]
    version = "{}.{}".format(*sys.version_info)
    for python in (sys.executable, f"/usr/bin/python{version}", f"/usr/local/bin/python{version}"):
        # In a child of the one that was started: only that one has nothing left of root's rights.
        probe = "import subprocess, sys; sys.exit(subprocess.run([sys.argv[1], '-c', 'import json']).returncode)"
        tried = subprocess.run([*drop, python, "-c", probe, python], cwd="/", capture_output=True, check=False)
        if tried.returncode == 0:
            return [*drop, python]
    return None


def import_path() -> dict[str, str]:
    """An environment in which another interpreter finds what this one does, and nothing of this user's folders."""
    own = {key: value for key, value in os.environ.items() if key not in ("XDG_RUNTIME_DIR", "HOME")}
    return {**own, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "PYTHONDONTWRITEBYTECODE": "1"}
