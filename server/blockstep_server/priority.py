"""Who comes first when processors are short: the supervisor, before the children that it has already.

Two hundred transfers in lock-step want a processor all the time. A supervisor that has to queue with them hears of a
request more than a second late, and by then its client has asked again; with ten steps of priority none has to. The
children go back by the same steps, so they stand where the server was started, and to others nothing changes.

Only root may raise a priority; without the right everything stays as it is.
"""

from __future__ import annotations

import contextlib
import os
from typing import Final

__all__ = ["AHEAD", "fall_back", "go_first"]

AHEAD: Final = 10
"""Steps of nice(2). Twice as many change nothing that can be measured."""


def go_first() -> int:
    """Raise the priority of this process; by how many steps it is higher now, 0 without the right."""
    before = os.getpriority(os.PRIO_PROCESS, 0)
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, max(before - AHEAD, -20))
    return before - os.getpriority(os.PRIO_PROCESS, 0)


def fall_back(steps: int) -> None:
    """Take a raise by so many steps back."""
    if steps:
        os.nice(steps)
