"""Signals that end the client become an exception, so that everything on the way out is put in order.

The first one raises `Stopped` wherever the program is; those after it are ignored until the block is left, because the
tidying up that they would cut short takes no longer than they do.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

from blockstep_client.errors import Stopped

__all__ = ["stoppable"]

_ENDING: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def stoppable() -> Iterator[None]:
    """Within it SIGINT, SIGTERM and SIGHUP raise `Stopped`, unless they are ignored (nohup). Main thread only."""
    previous = {number: signal.getsignal(number) for number in _ENDING}
    ours = [number for number in _ENDING if previous[number] is not signal.SIG_IGN]

    def stop(number: int, _frame: FrameType | None) -> None:
        for each in ours:
            signal.signal(each, signal.SIG_IGN)
        raise Stopped(number)

    for number in ours:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, previous[number])
