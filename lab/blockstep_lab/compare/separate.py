"""A process of its own for each side, on this machine as on a host of the lab.

Decided here: whoever runs there leaves Ctrl-C to the process that started it, which ends it in order.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from blockstep_lab.netns.host import Host
from blockstep_lab.netns.namespaces import Namespaces

__all__ = ["here", "undisturbed"]

_T = TypeVar("_T")
_LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class _Here(Namespaces):
    """The namespaces that this process is in."""

    def enter(self) -> None:
        """Stay."""


def here() -> Host:
    """This machine as a host."""
    return Host("here", _LOOPBACK, _Here(-1))


def undisturbed(function: Callable[..., _T], *arguments: object) -> _T:
    """For a child: what a function gives, whatever is typed at the terminal meanwhile."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    return function(*arguments)
