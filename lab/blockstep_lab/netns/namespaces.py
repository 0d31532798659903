"""The namespaces of one host as descriptors, and the way into them.

Decided here: that root works as root, and that everybody else works in a user namespace in which they are who they are
outside, with all rights over the lab's networks and over nothing else. (To be root in there would be the usual way; but
then programs that give up root when they are started with it would try to, and could not.) Not known here: what is
inside.

A refusal of the kernel is explained by the settings that distributions use to forbid this.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from blockstep.protocol.errors import LocalError
from blockstep_lab.netns.syscalls import (
    CLONE_NEWNET,
    CLONE_NEWNS,
    CLONE_NEWUSER,
    keep_capabilities_over_exec,
    setns,
    unshare,
)

__all__ = ["LabUnavailable", "Namespaces", "enter_user_namespace", "explain_refusal", "unshare_network"]


class LabUnavailable(LocalError):
    """This system or this user cannot have network namespaces; the text says why and what would help."""


@dataclass(frozen=True, slots=True)
class Namespaces:
    """Descriptors of one host's namespaces. `user` is None for root's labs, `mount` where mounting was refused."""

    net: int
    mount: int | None = None
    user: int | None = None

    def enter(self) -> None:
        """Moves this process, which must have one thread, onto the host. Its working directory stays what it was."""
        working_directory = os.getcwd()
        if self.user is not None:
            setns(self.user, CLONE_NEWUSER)
        if self.mount is not None:
            setns(self.mount, CLONE_NEWNS)
            os.chdir(working_directory)
        setns(self.net, CLONE_NEWNET)
        if self.user is not None:
            keep_capabilities_over_exec()

    def descriptors(self) -> list[int]:
        """All that are there."""
        return [each for each in (self.net, self.mount, self.user) if each is not None]

    def close(self) -> None:
        """Lets go of them."""
        for descriptor in self.descriptors():
            with contextlib.suppress(OSError):
                os.close(descriptor)


def unshare_network() -> bool:
    """A network namespace of its own for this process; True if that took a user namespace. LabUnavailable."""
    try:
        unshare(CLONE_NEWNET)
    except PermissionError:
        enter_user_namespace()
    except OSError as error:
        raise LabUnavailable(explain_refusal(error)) from error
    else:
        return False
    try:
        unshare(CLONE_NEWNET)
    except OSError as error:
        raise LabUnavailable(explain_refusal(error)) from error
    return True


def enter_user_namespace() -> None:
    """A user namespace in which this user may do everything, and outside of which nothing changes. LabUnavailable."""
    uid, gid = os.geteuid(), os.getegid()
    try:
        unshare(CLONE_NEWUSER)
        _write("/proc/self/setgroups", "deny")
        _write("/proc/self/uid_map", f"{uid} {uid} 1")
        _write("/proc/self/gid_map", f"{gid} {gid} 1")
    except OSError as error:
        raise LabUnavailable(explain_refusal(error)) from error


def explain_refusal(error: OSError) -> str:
    """Why there is no lab here, and what an administrator could change."""
    reasons = "; ".join(_reasons()) or "a container may forbid it (seccomp), then run it outside or as root"
    return f"no network namespaces here: {error.strerror}; {reasons}"


# Setting, the value that forbids, what to say.
_SWITCHES = (
    ("kernel/unprivileged_userns_clone", "0", "sysctl kernel.unprivileged_userns_clone=1 would allow it"),
    (
        "kernel/apparmor_restrict_unprivileged_userns",
        "1",
        "sysctl kernel.apparmor_restrict_unprivileged_userns=0 would allow it, and so would root",
    ),
    ("user/max_user_namespaces", "0", "sysctl user.max_user_namespaces=1000 would allow it"),
    ("user/max_net_namespaces", "0", "sysctl user.max_net_namespaces=1000 would allow it"),
)


def _reasons(root: Path = Path("/proc/sys")) -> Iterable[str]:
    for name, forbidding, advice in _SWITCHES:
        with contextlib.suppress(OSError):
            if (root / name).read_text().strip() == forbidding:
                yield advice


def _write(path: str, text: str) -> None:
    Path(path).write_text(text)
