"""The mechanisms that a child confines itself with, each made by the parent and put in force in two steps.

`enter` comes before the first byte of the peer is looked at, `confine` when the transfer holds what it needs. To make
one raises OSError where the system does not have it. In force they are for good, and they raise OSError rather than
pass by. Their order is `ALL`: each may need what the next one takes away.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from typing import Protocol

from blockstep_server import kernel
from blockstep_server.sandbox import landlock, limits, seccomp
from blockstep_server.sandbox.landlock import Access
from blockstep_server.sandbox.syscalls import CONNECTION, READER, WRITER

__all__ = ["ALL", "Hold", "Mechanism", "Needs", "Plan", "release"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What the children of one server have in common: the served directory, and how much nicer they are."""

    root_fd: int
    nice: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What a child may need before it knows what it is asked for.

    A connection opens files again and again; `uploads`: somebody may write, files of at most `upload_bytes`.
    """

    connection: bool = False
    uploads: bool = False
    upload_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Hold:
    """What a transfer holds: a file of this size to send, or a directory in which an upload will get its name."""

    size_bytes: int | None = None
    upload_dir_fd: int | None = None


class Mechanism(Protocol):
    """One way to give something up."""

    name: str
    words: str

    def fds(self) -> tuple[int, ...]:
        """Descriptors that a child has to keep until it is confined."""

    def enter(self, needs: Needs) -> None:
        """The first step. A connection stays after it."""

    def confine(self, hold: Hold) -> None:
        """The second step."""


class Priority:
    """--nice: the transfers stand back behind whatever else the machine does."""

    name = "priority"

    def __init__(self, plan: Plan) -> None:
        self.words = f"nice {plan.nice}" if plan.nice else "that of the server (--nice)"
        self._nice = plan.nice

    def fds(self) -> tuple[int, ...]:
        return ()

    def enter(self, needs: Needs) -> None:  # noqa: ARG002 - the same for all
        if self._nice:
            os.nice(self._nice)

    def confine(self, hold: Hold) -> None:
        pass


class Limits:
    """Resource limits."""

    name = "limits"

    def __init__(self, _plan: Plan) -> None:
        address_space = limits.address_space_bytes()
        self._transfer, self._connection = (
            limits.attainable(limits.limits_for(address_space=address_space, connection=each)) for each in (False, True)
        )
        self.words = f"{limits.in_words(self._transfer)}, CPU by the size of the file"

    def fds(self) -> tuple[int, ...]:
        return ()

    def enter(self, needs: Needs) -> None:
        limits.enforce(self._connection if needs.connection else self._transfer)
        if needs.upload_bytes is not None:
            limits.enforce(limits.attainable(limits.for_files_of(needs.upload_bytes)))

    def confine(self, hold: Hold) -> None:
        limits.enforce(limits.attainable(limits.for_transfer(hold.size_bytes)))


class Capabilities:
    """A child that has its file needs no right of root any more, but for an upload in somebody else's directory."""

    name = "capabilities"

    def __init__(self, _plan: Plan) -> None:
        held = kernel.capabilities()
        self.words = "none from the first block on" if held else "none"
        self._to_send = kernel.Capabilities(0) if held else None
        self._to_take = kernel.Capabilities(held & kernel.FILE_CAPABILITIES) if held else None

    def fds(self) -> tuple[int, ...]:
        return ()

    def enter(self, needs: Needs) -> None:
        pass

    def confine(self, hold: Hold) -> None:
        wanted = self._to_send if hold.upload_dir_fd is None else self._to_take
        if wanted is not None:
            wanted.enforce()


_NAME = Access.MAKE_REG | Access.REMOVE_FILE | Access.REFER
_READ = Access.READ_FILE | Access.READ_DIR
_UPLOAD = _READ | _NAME | Access.WRITE_FILE | Access.TRUNCATE
_NAME_BITS = int(_NAME)  # an enumeration counts slowly, and this is used in a child


class Landlock:
    """First nothing but the served directory can be reached, then no file at all; for an upload its one directory."""

    name = "landlock"

    def __init__(self, plan: Plan) -> None:
        self._version = landlock.version()
        rules = ((plan.root_fd, _READ),), ((plan.root_fd, _UPLOAD),), ()
        self._to_read, self._to_write, self._nothing = (landlock.make_ruleset(self._version, each) for each in rules)
        self.words = f"ABI {self._version}: the served directory, then no file (an upload: its directory); no TCP"

    def fds(self) -> tuple[int, ...]:
        return self._to_read, self._to_write, self._nothing

    def enter(self, needs: Needs) -> None:
        landlock.restrict(self._to_write if needs.uploads else self._to_read)

    def confine(self, hold: Hold) -> None:
        if hold.upload_dir_fd is None:
            landlock.restrict(self._nothing)
            return
        ruleset = landlock.make_ruleset(self._version, ((hold.upload_dir_fd, _NAME_BITS),))
        landlock.restrict(ruleset)
        os.close(ruleset)


class Seccomp:
    """Only the system calls that the rest of a transfer takes. Comes last: it would refuse all the others."""

    name = "seccomp"

    def __init__(self, _plan: Plan) -> None:
        self._reader, self._writer = seccomp.filter_for(READER), seccomp.filter_for(WRITER)
        self._connection = seccomp.filter_for(CONNECTION)
        self.words = f"{len(READER)} system calls to send a file, {len(WRITER)} to take one, {len(CONNECTION)} for TCP"

    def fds(self) -> tuple[int, ...]:
        return ()

    def enter(self, needs: Needs) -> None:
        if needs.connection:
            self._connection.enforce()

    def confine(self, hold: Hold) -> None:
        (self._reader if hold.upload_dir_fd is None else self._writer).enforce()


ALL: tuple[type[Priority | Limits | Capabilities | Landlock | Seccomp], ...] = (
    Priority,
    Limits,
    Capabilities,
    Landlock,
    Seccomp,
)


def release(mechanism: Mechanism) -> None:
    """Close what it has open."""
    for fd in mechanism.fds():
        with contextlib.suppress(OSError):
            os.close(fd)
