"""A turn on the processor for who is judged by milliseconds.

A process that wakes ten milliseconds late sends a block twice, and that is right; a test that counts what goes out
twice must not depend on what else the machine does. Only for tests that mostly wait: who computes would hold up others.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

__all__ = ["ahead_of_others"]

_NICE = -15


@contextmanager
def ahead_of_others() -> Iterator[None]:
    """This thread, and the processes that it starts meanwhile, before all others where the system lets us."""
    before = os.getpriority(os.PRIO_PROCESS, 0)
    with suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, _NICE)
    try:
        yield
    finally:
        with suppress(PermissionError):
            os.setpriority(os.PRIO_PROCESS, 0, before)
