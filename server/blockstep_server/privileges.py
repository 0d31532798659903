"""From root to an ordinary user, and proof that there is no way back.

Called after the sockets are bound and before the ready line. Decided here: who is started as root becomes `nobody`
unless somebody else is named, and stays root only if that is said. Nothing is kept but, where it is asked for, the one
capability that single-port mode needs on a port below 1024 (each transfer binds that port once more). Who stays root
keeps its right to files and loses the others.
"""

from __future__ import annotations

import os
import pwd
from dataclasses import dataclass
from pathlib import Path

from blockstep.protocol.errors import LocalError
from blockstep_server import kernel

__all__ = ["Identity", "become", "find_user", "wanted"]

_UNPRIVILEGED = "nobody"


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


def wanted(name: str | None) -> Identity | None:
    """Who to become for `--user NAME`; None: stay who we are. LocalError if there is no such user.

    Root that has not been told becomes `nobody`. Where there is none it has to be told.
    """
    if name is not None:
        return find_user(name)
    if os.geteuid() != 0:
        return None
    try:
        return find_user(_UNPRIVILEGED)
    except LocalError:
        raise LocalError(
            f"started as root, and there is no user {_UNPRIVILEGED!r} here to become: "
            "name one with --user, or stay root with --user root"
        ) from None


def become(identity: Identity | None, *, keep_low_ports: bool = False) -> str:
    """Give up groups, group and user ids (in that order) for those of `identity`, and all capabilities but what is
    said; verify it, and say in a line what is left.

    LocalError if we may not, or if anything of root is left afterwards.
    """
    keep = 1 << kernel.CAP_NET_BIND_SERVICE if keep_low_ports else 0
    if os.geteuid() == 0 and identity is not None and identity.uid == 0:
        keep |= kernel.FILE_CAPABILITIES
    try:
        held = _give_up(identity, keep)
    except OSError as error:
        raise LocalError(_why_not(identity, error)) from None
    if identity is not None:
        _verify(identity)
    if _capabilities() & ~held:
        raise LocalError("rights of root are left after they were given up")
    return _in_words(held)


def _why_not(identity: Identity | None, error: OSError) -> str:
    if identity is None:
        return f"the capabilities cannot be given up ({error.strerror})"
    if os.geteuid() != 0:
        return f"--user {identity.name}: only root may become another user ({error.strerror})"
    return (
        f"--user {identity.name}: this root may not become another user ({error.strerror}), as in a user namespace "
        "that has no other; to stay root say --user root"
    )


def _give_up(identity: Identity | None, keep: int) -> int:
    """The capabilities that remain, as a mask."""
    held = kernel.capabilities() & keep
    kernel.forget_capabilities(all_but=held)
    if identity is not None:
        if held and identity.uid != 0:
            kernel.keep_capabilities()
        if identity.uid != os.geteuid() or set(os.getgroups()) - {identity.gid}:
            os.setgroups([identity.gid])
        os.setresgid(identity.gid, identity.gid, identity.gid)
        os.setresuid(identity.uid, identity.uid, identity.uid)
    kernel.set_capabilities(held)
    kernel.forbid_new_privileges()
    return held


def _verify(identity: Identity) -> None:
    uid, gid = identity.uid, identity.gid
    if os.getresuid() != (uid, uid, uid) or os.getresgid() != (gid, gid, gid) or set(os.getgroups()) - {gid}:
        raise LocalError(f"--user {identity.name}: the ids did not change as asked")
    if uid != 0 and _can_return():
        raise LocalError(f"--user {identity.name}: rights of root are left after the change")


_WHY = {
    kernel.CAP_NET_BIND_SERVICE: "net_bind_service (single port below 1024)",
    kernel.CAP_DAC_OVERRIDE: "dac_override (--user root)",
    kernel.CAP_DAC_READ_SEARCH: "dac_read_search (--user root)",
}


def _in_words(held: int) -> str:
    uid = os.getuid()
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        name = "without a name"
    kept = ", ".join(words for bit, words in _WHY.items() if held & 1 << bit)
    groups = ", ".join(str(group) for group in sorted({os.getgid(), *os.getgroups()}))
    return f"user {name} ({uid}), groups {groups}; capabilities of the server: {kept or 'none'}"


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
