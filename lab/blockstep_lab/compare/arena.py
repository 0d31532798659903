"""Runs in network namespaces with a bad link between them, and, for the ceilings, on this machine without any.

Decided here: one lab for all runs, whose link begins anew with each (same seed, same fates), and that a run of which
the lab says that it is not to be believed is made again, twice at most, before it counts as void. Not known here: the
order of runs.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

from blockstep.protocol.errors import LocalError
from blockstep.transport.dial import SocketAddress
from blockstep_lab.compare.grid import Order
from blockstep_lab.compare.outcome import Observed, judged, void_run
from blockstep_lab.compare.receiving import Received, fetch_one
from blockstep_lab.compare.results import LOCAL, VOID, Contender
from blockstep_lab.compare.sending import Sent, serve_one
from blockstep_lab.compare.separate import here, undisturbed
from blockstep_lab.compare.transfer import Transfer
from blockstep_lab.netns.checks import LabChecks
from blockstep_lab.netns.host import Host
from blockstep_lab.netns.lab import Lab
from blockstep_lab.netns.plumbing import DEVICE

__all__ = ["Arena"]

_ATTEMPTS = 3
_PATIENCE_S = 30.0
# Packets of the run before that are still under way would meet the fates of the next.
_QUIET_WITHIN_S = 1.0


class Arena:
    """Makes runs of one file. A context manager; `LabUnavailable` where namespaces are not to be had.

    `needs_link` false makes no lab: ceilings alone need none.
    """

    def __init__(self, content: bytes, *, max_time_s: float, mtu: int = 1500, needs_link: bool = True) -> None:
        self._content = content
        self._sha256 = hashlib.sha256(content).hexdigest()
        self._max_time_s = max_time_s
        self._here = here()
        self._stack = ExitStack()
        self._folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="blockstep-")))
        self._lab: Lab | None = None
        try:
            if needs_link:
                self._lab = self._stack.enter_context(Lab(mtu=mtu))
        except BaseException:
            self._stack.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._here.end_everything()
        self._stack.close()

    @property
    def carrier(self) -> str | None:
        """The lab's."""
        return self._lab.carrier if self._lab else None

    @property
    def scheduler(self) -> str | None:
        """The lab's router's."""
        return self._lab.scheduler if self._lab else None

    def run(self, order: Order) -> Observed:
        """One run, made again if it was void."""
        attempts = 1
        observed = self._run_once(order)
        while observed.run.state == VOID and attempts < _ATTEMPTS:
            attempts += 1
            observed = self._run_once(order)
        return replace(observed, run=replace(observed.run, attempts=attempts))

    def _run_once(self, order: Order) -> Observed:
        transfer = self._transfer(order.contender)
        if order.link.id == LOCAL:
            sent, received = self._move(transfer, self._here, self._here)
            return judged(order, sent, received, sha256=self._sha256)
        lab = self._lab
        if lab is None:
            raise LocalError("there is no link in this arena")
        transfer = replace(transfer, device=DEVICE, has_ethernet=lab.carrier == "veth")
        lab.set_conditions(order.link.up, order.link.down, seed=order.seed)
        sent, received = self._move(transfer, lab.right, lab.left)
        checks = self._quiet_checks(lab)
        failures = checks.failures()
        if failures:
            return void_run(order, failures[0], checks)
        return judged(order, sent, received, sha256=self._sha256, checks=checks)

    def _quiet_checks(self, lab: Lab) -> LabChecks:
        """What the lab says, once nothing is under way any more, or after a second."""
        patience = time.monotonic() + _QUIET_WITHIN_S
        while (checks := lab.checks()).under_way and time.monotonic() < patience:
            time.sleep(0.01)
        return checks

    def _transfer(self, contender: Contender) -> Transfer:
        return Transfer(
            transport=contender.transport,
            blksize=contender.blksize,
            windowsize=contender.windowsize or 1,
            congestion=contender.congestion,
            content=self._content,
            max_time_s=self._max_time_s,
        )

    def _move(self, transfer: Transfer, sender: Host, receiver: Host) -> tuple[Sent, Received]:
        """The server first, then, when it listens, the client."""
        is_unix = transfer.transport == "unix"
        path = self._folder / "socket"
        path.unlink(missing_ok=True)
        ready, theirs = os.pipe()
        try:
            serving = sender.start(undisturbed, serve_one, transfer, str(path) if is_unix else sender.address, theirs)
            os.close(theirs)
            theirs = -1
            port = os.read(ready, 16)
        finally:
            os.close(ready)
            if theirs >= 0:
                os.close(theirs)
        if not port:
            serving.result(_PATIENCE_S)  # raises what went wrong
            raise LocalError("the sender ended before it listened")
        where: SocketAddress | Path = path if is_unix else (sender.address, int(port))
        try:
            received = receiver.call(
                undisturbed, fetch_one, replace(transfer, content=b""), where, timeout_s=self._limit_s
            )
            return serving.result(self._limit_s), received
        finally:
            serving.kill()

    @property
    def _limit_s(self) -> float:
        return self._max_time_s + _PATIENCE_S
