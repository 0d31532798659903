"""What a waiting user sees: bars on a terminal, nothing anywhere else.

A `Progress` spans one command and is told of each file in turn: `begin`, `size_known` once the size is known, `update`
as often as the pump likes, `end`. Bars belong to standard error, and only to a terminal. With several files there is a
second bar for the total: bytes where all sizes are known before the start (put), files where they are not (get).

tqdm is imported when the first bar is drawn, so that a quiet client does not pay for it. Its monitor thread stays off:
every bar here is fed often enough to need no help.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import TYPE_CHECKING, Any, Final, Never, Protocol, TextIO

if TYPE_CHECKING:
    from tqdm import tqdm

__all__ = ["BarProgress", "NoProgress", "Progress", "colour_wanted", "make_progress"]

_NAME_WIDTH: Final = 24
_SIZE: Final = (80, 24)  # columns and rows of a terminal that does not say
_BYTES: Final[Mapping[str, Any]] = {"unit": "B", "unit_scale": True, "unit_divisor": 1024}
_FILES: Final[Mapping[str, Any]] = {"unit": " files"}


class Progress(Protocol):
    """What a transfer tells its user while it runs."""

    def begin(self, name: str) -> None:
        """A file starts. `name` is safe to print."""

    def size_known(self, size_bytes: int) -> None:
        """The current file's size, as the server or the file system tells it."""

    def update(self, done_bytes: int, resends: int) -> None:
        """How far the current file is, both counted from its start."""

    def end(self) -> None:
        """The current file is over, well or not."""

    def aside(self) -> AbstractContextManager[None]:
        """Takes the bars off the screen while somebody else writes to the terminal."""

    def close(self) -> None:
        """The command is over. Calling it again does nothing."""


class NoProgress:
    """Shows nothing."""

    def begin(self, name: str) -> None:
        """Nothing to show."""

    def size_known(self, size_bytes: int) -> None:
        """Nothing to show."""

    def update(self, done_bytes: int, resends: int) -> None:
        """Nothing to show."""

    def end(self) -> None:
        """Nothing to show."""

    def aside(self) -> AbstractContextManager[None]:
        """Nothing is in the way."""
        return nullcontext()

    def close(self) -> None:
        """Nothing was opened."""


class BarProgress:
    """tqdm bars on `stream`: one for the current file, and one for the total when there are several `files`.

    `total_bytes` is the size of all files together, None if it is not known before the start.
    """

    def __init__(self, stream: TextIO, *, files: int = 1, total_bytes: int | None = None, colour: bool = False) -> None:
        self._stream = stream
        self._colour = "green" if colour else None
        size = (None, None) if _knows_its_size(stream) else _SIZE
        self._columns: int | None = size[0]
        self._rows: int | None = size[1]
        self._several = files > 1
        self._bar: tqdm[Never] | None = None
        self._bar_resends = 0
        self._total: tqdm[Never] | None = None
        self._counts_bytes = total_bytes is not None
        if self._several:
            self._total = self._bar_of("total", _BYTES if self._counts_bytes else _FILES, position=1, leave=True)
            self._total.total = total_bytes if self._counts_bytes else files

    def begin(self, name: str) -> None:
        """Draws the bar of one file; it counts until its size is known."""
        self._bar_resends = 0
        self._bar = self._bar_of(_shortened(name), _BYTES, position=0, leave=not self._several)

    def size_known(self, size_bytes: int) -> None:
        """Turns the counting bar into one with an end."""
        if self._bar is not None:
            self._bar.total = size_bytes
            self._bar.refresh()

    def update(self, done_bytes: int, resends: int) -> None:
        """Moves the bar to `done_bytes`; tqdm decides whether it is time to draw."""
        if self._bar is None:
            return
        if resends != self._bar_resends:
            self._bar_resends = resends
            self._bar.set_postfix(retx=resends, refresh=False)
        step = done_bytes - int(self._bar.n)
        self._bar.update(step)
        if self._total is not None and self._counts_bytes:
            self._total.update(step)

    def end(self) -> None:
        """Closes the bar of this file and counts it in the total."""
        if self._bar is None:
            return
        self._bar.close()
        self._bar = None
        if self._total is not None and not self._counts_bytes:
            self._total.update(1)

    def aside(self) -> AbstractContextManager[None]:
        """Clears the bars; the next update draws them again."""
        return _tqdm().external_write_mode(file=self._stream)

    def close(self) -> None:
        """Leaves the last state of the total on the screen."""
        self.end()
        if self._total is not None:
            self._total.close()
            self._total = None

    def _bar_of(self, name: str, unit: Mapping[str, Any], *, position: int, leave: bool) -> tqdm[Never]:
        return _tqdm()(
            desc=name,
            position=position,
            leave=leave,
            file=self._stream,
            colour=self._colour,
            ncols=self._columns,
            nrows=self._rows,
            dynamic_ncols=self._columns is None,
            **unit,
        )


@cache
def _tqdm() -> type[tqdm[Never]]:
    from tqdm import tqdm

    tqdm.monitor_interval = 0
    tqdm.set_lock(threading.RLock())  # the default one also guards other processes, for a semaphore each
    return tqdm


def make_progress(
    stream: TextIO, environ: Mapping[str, str], *, quiet: bool, files: int, total_bytes: int | None
) -> Progress:
    """Bars if `stream` is a terminal and nobody asked for quiet."""
    if quiet or not stream.isatty():
        return NoProgress()
    return BarProgress(stream, files=files, total_bytes=total_bytes, colour=colour_wanted(stream, environ))


def colour_wanted(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """Whether colours may go to `stream`: a terminal that is not dumb, and NO_COLOR unset or empty (no-color.org)."""
    return stream.isatty() and not environ.get("NO_COLOR") and environ.get("TERM") != "dumb"


def _knows_its_size(stream: TextIO) -> bool:
    """False for serial consoles, which say that they have no columns and no rows; tqdm would then draw nothing."""
    try:
        return os.get_terminal_size(stream.fileno()).columns > 0
    except OSError:  # no descriptor, or not of a terminal
        return False


def _shortened(name: str) -> str:
    return name if len(name) <= _NAME_WIDTH else "..." + name[3 - _NAME_WIDTH :]
