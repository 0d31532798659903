"""From root to an ordinary user, and proof that there is no way back.

Called after the sockets are bound and before the ready line. Nothing is kept but, where it is asked for, the one
capability that single-port mode needs on a port below 1024 (each transfer binds that port once more).
"""

from __future__ import annotations

import os
import pwd
from dataclasses import dataclass
from pathlib import Path

from blockstep.protocol.errors import LocalError
from blockstep_server import kernel

__all__ = ["Identity", "become", "find_user"]


@dataclass(frozen=True, slots=True)
class Identity:
    """A user to become."""

    name: str
    uid: int
    gid: int


def find_user(name: str) -> Identity:
    """The user of that name, or LocalError."""
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        raise LocalError(f"--user {name}: there is no such user on this machine") from None
    return Identity(name, entry.pw_uid, entry.pw_gid)


def become(identity: Identity, *, keep_low_ports: bool = False) -> None:
    """Give up groups, group and user ids (in that order) for those of `identity`, and verify it.

    LocalError if we may not, or if anything of root is left afterwards.
    """
    try:
        if keep_low_ports and identity.uid != 0:
            kernel.keep_capabilities()
        os.setgroups([identity.gid])
        os.setresgid(identity.gid, identity.gid, identity.gid)
        os.setresuid(identity.uid, identity.uid, identity.uid)
        if keep_low_ports and identity.uid != 0:
            kernel.set_capabilities(1 << kernel.CAP_NET_BIND_SERVICE)
        kernel.forbid_new_privileges()
    except PermissionError as error:
        raise LocalError(f"--user {identity.name}: only root may become another user ({error.strerror})") from None
    _verify(identity, keep_low_ports)


def _verify(identity: Identity, keep_low_ports: bool) -> None:
    uid, gid = identity.uid, identity.gid
    if os.getresuid() != (uid, uid, uid) or os.getresgid() != (gid, gid, gid) or set(os.getgroups()) - {gid}:
        raise LocalError(f"--user {identity.name}: the ids did not change as asked")
    if uid == 0:
        return
    allowed = 1 << kernel.CAP_NET_BIND_SERVICE if keep_low_ports else 0
    if _capabilities() & ~allowed or _can_return():
        raise LocalError(f"--user {identity.name}: rights of root are left after the change")


def _capabilities() -> int:
    """The permitted capabilities as a bit mask; 0 where the system does not have them."""
    try:
        status = Path("/proc/self/status").read_bytes()  # as text it would need a codec, which we may not read any more
    except OSError:
        return 0
    lines = dict(line.split(b":", 1) for line in status.splitlines() if b":" in line)
    return int(lines.get(b"CapPrm", b"0").strip(), 16)


def _can_return() -> bool:
    try:
        os.setuid(0)
    except PermissionError:
        return False
    return True
