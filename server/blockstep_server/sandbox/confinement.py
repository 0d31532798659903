"""What a child gives up, and when: the one place where the mechanisms come together.

Everything that can be made in advance is made by the parent, so a transfer pays some ten system calls. What this system
does not have is found out by trying it, in a child, before the server says that it is ready. A mechanism that worked
then and fails later ends the transfer: nobody is served with less than what was announced.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from blockstep_server import kernel
from blockstep_server.sandbox import preload
from blockstep_server.sandbox.mechanisms import ALL, Hold, Mechanism, Needs, Plan, Priority, release

__all__ = ["CannotConfine", "Measure", "Sandbox", "prepare", "without"]


class CannotConfine(Exception):
    """A mechanism that was in force at start cannot be had any more: the transfer must not go on."""


@dataclass(frozen=True, slots=True)
class Measure:
    """One mechanism: whether it is in force, and what it does or why it is not there."""

    name: str
    on: bool
    words: str

    def text(self) -> str:
        """A line for people."""
        return f"{self.name:<13}{'on ' if self.on else 'OFF'}  {self.words}"


@dataclass(frozen=True, slots=True)
class Sandbox:
    """What the children of one server confine themselves with. Without mechanisms it does nothing."""

    measures: tuple[Measure, ...] = ()
    mechanisms: tuple[Mechanism, ...] = ()

    def fds(self) -> tuple[int, ...]:
        """The descriptors that a child has to keep open."""
        return tuple(fd for mechanism in self.mechanisms for fd in mechanism.fds())

    def close(self) -> None:
        """Let go of what was made in advance."""
        for mechanism in self.mechanisms:
            release(mechanism)

    def enter(self, needs: Needs) -> None:
        """The first step of a child, before anything of its peer is read. Raises CannotConfine.

        A connection, which serves several transfers, stays after it.
        """
        mechanism = None
        try:
            for mechanism in self.mechanisms:
                mechanism.enter(needs)
        except OSError as error:
            raise _cannot(mechanism, error) from error

    def confine(self, hold: Hold) -> tuple[Measure, ...]:
        """The second step, when the transfer holds what it needs; what is in force. Raises CannotConfine."""
        mechanism = None
        try:
            for mechanism in self.mechanisms:
                mechanism.confine(hold)
        except OSError as error:
            raise _cannot(mechanism, error) from error
        return self.measures

    @property
    def missing(self) -> tuple[Measure, ...]:
        """What is not in force."""
        return tuple(measure for measure in self.measures if not measure.on)


def prepare(plan: Plan) -> Sandbox:
    """Find out what this system has and make it ready.

    Call it in the parent, with the ids and rights that the children will have. From then on the parent, too, can gain
    no new privileges.
    """
    preload.everything()
    measures, mechanisms = [_no_new_privileges()], []
    for kind in ALL:
        try:
            mechanism = kind(plan)
            _try(mechanism)
        except OSError as error:
            measures.append(Measure(kind.name, False, f"this system does not have it ({error.strerror})"))
            continue
        measures.append(Measure(kind.name, True, mechanism.words))
        mechanisms.append(mechanism)
    return Sandbox(tuple(measures), tuple(mechanisms))


def without(why: str, plan: Plan) -> Sandbox:
    """No sandbox, and the reason. Only the priority stays: it protects nothing, and was asked for by itself."""
    priority = Priority(plan)
    off = (Measure(kind.name, False, why) for kind in ALL if kind is not Priority)
    return Sandbox((Measure(Priority.name, True, priority.words), *off), (priority,))


def _cannot(mechanism: Mechanism | None, error: OSError) -> CannotConfine:
    """An error of the system says whose it was, and is not taken for one of the network or of a file."""
    name = "" if mechanism is None else mechanism.name
    return CannotConfine(f"sandbox: {name} fails: {error.strerror}")


def _no_new_privileges() -> Measure:
    name, words = "no_new_privs", "no program that is started can gain rights"
    try:
        on = kernel.forbid_new_privileges()
    except OSError as error:
        return Measure(name, False, f"this system does not have it ({error.strerror})")
    return Measure(name, on, words if on else "this system does not have it")


def _try(mechanism: Mechanism) -> None:
    """Put it in force in a child that ends then. OSError with what went wrong there."""
    pid = os.fork()
    if pid == 0:
        _exit_with_errno(mechanism)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if code:
        release(mechanism)
        raise OSError(code, os.strerror(code) if code > 0 else f"killed by signal {-code}")


def _exit_with_errno(mechanism: Mechanism) -> None:
    code = 255
    try:
        mechanism.enter(Needs())
        mechanism.confine(Hold())
        code = 0
    except OSError as error:
        code = error.errno or code
    finally:
        os._exit(code)
