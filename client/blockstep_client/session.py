"""One transfer from a `Job` to a `TransferResult`: open the file, ask the server, move the blocks.

Decided here: the order. A file to send is opened before the server is asked, so that a wrong name costs no packet; a
file to receive is made after the server has agreed, so that its size can be held against the disk. Whatever goes wrong,
signals included, becomes a result with a sentence; `transfer` raises nothing, and no failure leaves a local file.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field

from blockstep.protocol.errors import LocalError, RemoteError, TftpError, TransferFailed
from blockstep.protocol.machine import Machine, TransferStats
from blockstep.protocol.options import Agreed
from blockstep.protocol.receiver import Receiver
from blockstep.protocol.sender import Sender
from blockstep.protocol.states import Role
from blockstep.protocol.wire import Opcode, printable_untrusted
from blockstep.transport.client import Opened
from blockstep.transport.files import Source
from blockstep.transport.pump import Pump, error_packet, ring_for, run_receiver, run_sender
from blockstep_client.address import Transport
from blockstep_client.approach import Approach
from blockstep_client.display import Display
from blockstep_client.errors import CannotReach, CannotResolve, NotAvailable, Stopped, exit_code
from blockstep_client.jobs import Direction, Job
from blockstep_client.local import ReceivedFile, open_sink, open_source
from blockstep_client.messages import explain
from blockstep_client.resolve import Address
from blockstep_client.result import Failure, TransferResult
from blockstep_client.settings import Settings

__all__ = ["transfer"]


def transfer(job: Job, settings: Settings, display: Display) -> TransferResult:
    """Run one job to its end, well or not. `display` shows progress; the result is the caller's to report."""
    session = _Session(job, settings, display)
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
    settings: Settings
    display: Display
    mode: str = field(init=False)
    started_at: float = field(default_factory=time.monotonic)
    peer: str | None = None
    machine: Machine | None = None
    received: ReceivedFile | None = None

    def __post_init__(self) -> None:
        self.mode = self.settings.mode_for(self.job.target.mode)

    def run(self) -> None:
        transport = self.job.target.transport
        if transport is not Transport.UDP:
            raise NotAvailable(f"{transport.value} is not available yet; tftp://HOST/PATH goes over UDP")
        if self.job.direction is Direction.GET:
            self._get()
        else:
            self._put()

    def _get(self) -> None:
        opened = self._open(Opcode.RRQ, tsize=0)
        try:
            self.received = self._open_sink(opened)
            opening = opened.opening
            receiver = Receiver(
                Role.GET, opening.agreed, opening.timer, now=time.monotonic(), first_ack=opening.by_oack
            )
            run_receiver(self._pump(opened, receiver), receiver, self.received, opened.first)
        finally:
            if self.received is not None:
                self.received.abort()  # does nothing after a commit
            opened.endpoint.close()

    def _open_sink(self, opened: Opened) -> ReceivedFile:
        tsize = opened.opening.agreed.tsize
        if tsize is not None:
            self.display.progress.size_known(tsize)
        try:
            return open_sink(self.job, self.mode, replace=self.settings.replace, tsize=tsize)
        except BaseException as failure:
            opened.endpoint.send(error_packet(failure) or b"")
            raise

    def _put(self) -> None:
        source = open_source(self.job, self.mode)
        try:
            if source.size_bytes is not None:
                self.display.progress.size_known(source.size_bytes)
            self._send(source)
        finally:
            source.close()

    def _send(self, source: Source) -> None:
        opened = self._open(Opcode.WRQ, tsize=source.size_bytes)
        try:
            opening = opened.opening
            arena = ring_for(opening.agreed, source.size_bytes)
            sender = Sender(Role.PUT, opening.agreed, opening.timer, arena=arena, now=time.monotonic())
            run_sender(self._pump(opened, sender), sender, source)
        finally:
            opened.endpoint.close()

    def _open(self, opcode: Opcode, *, tsize: int | None) -> Opened:
        approach = Approach(
            opcode=opcode,
            target=self.job.target,
            mode=self.mode,
            tsize=tsize,
            settings=self.settings,
            expires_at=self.started_at + (self.settings.max_time_s or math.inf),
            note=self.display.note,
        )
        opened = approach.open()
        sock = opened.endpoint.sock
        self.peer = str(Address(sock.family, sock.getpeername()))
        return opened

    def _pump(self, opened: Opened, machine: Machine) -> Pump:
        self.machine = machine
        agreed = machine.agreed
        self.display.note(f"{self.peer} agreed to blksize {agreed.blksize}, windowsize {agreed.windowsize}")
        left_s = None
        if self.settings.max_time_s is not None:
            left_s = max(0.001, self.started_at + self.settings.max_time_s - time.monotonic())
        return Pump(opened.endpoint, machine, progress=self.display.progress.update, max_time_s=left_s)

    def result(self, error: BaseException | None) -> TransferResult:
        """The record of this transfer, which ended with `error`, or well if that is None."""
        machine = self.machine
        ended_at = (self.received and self.received.committed_at) or time.monotonic()
        stopped = isinstance(error, Stopped | KeyboardInterrupt)
        if stopped and machine is not None and machine.delivered:
            failure = None  # the signal came after the file
        else:
            failure = None if error is None else self._failure(error)
        return TransferResult(
            job=self.job,
            mode=self.mode,
            seconds=ended_at - self.started_at,
            peer=self.peer,
            agreed=machine.agreed if machine else Agreed(),
            stats=machine.stats if machine else TransferStats(),
            srtt_s=machine.timer.srtt_s if machine else None,
            failure=failure,
            stop_code=exit_code(error) if error is not None and stopped else 0,
        )

    def _failure(self, error: BaseException) -> Failure:
        return Failure(
            kind=_kind(error),
            message=explain(error, self.job, answered=self.peer is not None),
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
    NotAvailable: "not_available",
    LocalError: "bad_request",
}
