"""How far a comparison is, on stderr: a bar over expected time, because a lock-step run takes as long as fifty others.

Decided here: what is expected is corrected by what was. Without a terminal there is no bar.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Self

from tqdm import tqdm

from blockstep_lab.compare.grid import Order
from blockstep_lab.compare.results import OK, Run
from blockstep_lab.compare.simulated import expected_s

__all__ = ["Progress"]

_FORMAT = "{desc} {percentage:3.0f}%|{bar}| {elapsed}<{remaining}{postfix}"
_SIMULATED_S = 0.5


class _Bar(tqdm):  # type: ignore[type-arg]  # over nothing
    """Without the thread that tqdm keeps for bars that stand still: runs are forked from this process."""

    monitor_interval = 0


class Progress:
    """A bar over these runs. `disable` None: by whether stderr is a terminal."""

    def __init__(
        self, orders: Sequence[Order], file_bytes: int, max_time_s: float, *, disable: bool | None = None
    ) -> None:
        self._file_bytes, self._max_time_s = file_bytes, max_time_s
        self._count = len(orders)
        self._done = 0
        self._not_ok = 0
        total = sum(map(self._expected_s, orders))
        self._bar = _Bar(total=total, bar_format=_FORMAT, leave=False, disable=disable, dynamic_ncols=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._bar.close()

    def begin(self, order: Order) -> None:
        """This run is being made."""
        self._bar.set_description_str(
            f"run {self._done + 1} of {self._count}: {order.contender.label}, {order.link.label}"
        )

    def done(self, order: Order, run: Run) -> None:
        """It is over."""
        self._done += 1
        self._not_ok += run.state != OK
        if self._not_ok:
            self._bar.set_postfix_str(f"{self._not_ok} not ok", refresh=False)
        self._bar.update(self._expected_s(order))
        self._bar.refresh()

    def _expected_s(self, order: Order) -> float:
        if order.contender.simulated:
            return _SIMULATED_S
        return min(expected_s(order.contender, order.link, self._file_bytes), self._max_time_s)
