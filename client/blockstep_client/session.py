"""One transfer from a `Job` to a `TransferResult`: open the file, ask the server, move the blocks.

Decided here: the order. A file to send is opened before the server is asked, so that a wrong name costs no packet; a
file to receive is made after the server has agreed, so that its size can be held against the disk. Whatever goes wrong,
signals included, becomes a result with a sentence; `transfer` raises nothing, and no failure leaves a local file. How
the blocks travel is known to the exchange of each transport.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field

from blockstep.protocol.errors import LocalError, RemoteError, TftpError, TransferFailed
from blockstep.protocol.options import Agreed
from blockstep.protocol.wire import printable_untrusted
from blockstep_client.display import Display
from blockstep_client.errors import CannotReach, CannotResolve, NotTrusted, Stopped, exit_code
from blockstep_client.exchange import Exchange, Matter
from blockstep_client.jobs import Direction, Job
from blockstep_client.local import ReceivedFile, open_sink, open_source
from blockstep_client.messages import explain
from blockstep_client.result import Failure, TransferResult
from blockstep_client.settings import Settings
from blockstep_client.transports import ExchangeFor

__all__ = ["transfer"]


def transfer(job: Job, settings: Settings, display: Display, exchange_for: ExchangeFor) -> TransferResult:
    """Run one job to its end, well or not. `display` shows progress; the result is the caller's to report."""
    started_at = time.monotonic()
    matter = Matter(
        target=job.target,
        mode=settings.mode_for(job.target.mode),
        settings=settings,
        expires_at=started_at + (settings.max_time_s or math.inf),
        note=display.note,
        progress=display.progress.update,
    )
    session = _Session(job, matter, exchange_for(matter), display, started_at)
    display.progress.begin(printable_untrusted(job.target.base_name))
    try:
        session.run()
    except TftpError as error:
        return session.result(error)
    except OSError as error:  # of the network: those of files are TransferFailed by now
        return session.result(_unreachable(error))
    except (Stopped, KeyboardInterrupt) as stop:
        return session.result(stop)
    finally:
        display.progress.end()
    return session.result(None)


@dataclass(slots=True)
class _Session:
    """What is known about one transfer so far."""

    job: Job
    matter: Matter
    exchange: Exchange
    display: Display
    started_at: float
    received: ReceivedFile | None = field(default=None, init=False)

    def run(self) -> None:
        if self.job.direction is Direction.GET:
            self._get()
        else:
            self._put()

    def _get(self) -> None:
        try:
            self.exchange.get(self._make_sink)
        finally:
            if self.received is not None:
                self.received.abort()  # does nothing after a commit

    def _make_sink(self, agreed: Agreed) -> ReceivedFile:
        if agreed.tsize is not None:
            self.display.progress.size_known(agreed.tsize)
        replaces = self.matter.settings.replace
        self.received = open_sink(self.job, self.matter.mode, replace=replaces, tsize=agreed.tsize)
        return self.received

    def _put(self) -> None:
        source = open_source(self.job, self.matter.mode)
        try:
            if source.size_bytes is not None:
                self.display.progress.size_known(source.size_bytes)
            self.exchange.put(source)
        finally:
            source.close()

    def result(self, error: BaseException | None) -> TransferResult:
        """The record of this transfer, which ended with `error`, or well if that is None."""
        exchange = self.exchange
        ended_at = (self.received and self.received.committed_at) or time.monotonic()
        stopped = isinstance(error, Stopped | KeyboardInterrupt)
        arrived = error is None or (stopped and exchange.delivered)  # the signal may come after the file
        return TransferResult(
            job=self.job,
            mode=self.matter.mode,
            seconds=ended_at - self.started_at,
            peer=exchange.peer,
            agreed=exchange.agreed,
            stats=exchange.stats,
            srtt_s=exchange.srtt_s,
            failure=None if arrived or error is None else self._failure(error),
            stop_code=exit_code(error) if error is not None and stopped else 0,
        )

    def _failure(self, error: BaseException) -> Failure:
        return Failure(
            kind=_kind(error),
            message=explain(error, self.job, answered=self.exchange.peer is not None),
            exit_code=exit_code(error),
            code=error.code if isinstance(error, TransferFailed | RemoteError) else None,
        )


def _unreachable(error: OSError) -> CannotReach:
    failure = CannotReach(f"the network failed: {(error.strerror or 'unknown error').lower()}")
    failure.__cause__ = error
    return failure


def _kind(error: BaseException) -> str:
    """The failure's name in JSON, snake case."""
    if isinstance(error, TransferFailed):
        return error.end.name.lower()
    for kind, name in _KINDS.items():
        if isinstance(error, kind):
            return name
    return "stopped"


_KINDS: dict[type[BaseException], str] = {
    RemoteError: "peer_broke_rules",
    CannotResolve: "cannot_resolve",
    CannotReach: "cannot_reach",
    NotTrusted: "not_trusted",
    LocalError: "bad_request",
}
