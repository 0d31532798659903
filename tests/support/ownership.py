"""Whose files a test's server works on: one that root starts becomes `nobody`, and can write what is given to it."""

from __future__ import annotations

import os
from pathlib import Path

from blockstep_server.privileges import wanted

__all__ = ["STAY", "hand_over"]

STAY = ("--user", "root") if os.geteuid() == 0 else ()
"""Options for a server that has to reach more than the directory it serves, such as a socket in a test's folder."""


def hand_over(folder: Path) -> None:
    """Give a folder and what is in it to the user that a server becomes. Nothing happens where it stays who we are."""
    identity = wanted(None)
    if identity is None:
        return
    os.chown(folder, identity.uid, identity.gid)
    for top, folders, files in os.walk(folder):
        for name in (*folders, *files):
            os.chown(os.path.join(top, name), identity.uid, identity.gid, follow_symlinks=False)
