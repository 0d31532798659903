"""The server without a kernel: its real listener, admission, suspicion, board, records and tally on the simulated
network, with children that are objects.

Decided here: what the supervisor does around those, which is to fork, to hold a place, to wait for the dead. Checked
here, at each fork, is what must hold at every moment; what must hold at the end is in `rules`. Not modelled: streams
and signals. A fork may fail, and a child that is killed leaves what the real one leaves: nothing but its status.
"""

from __future__ import annotations

import errno
import os
import socket
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any, cast

from blockstep.protocol.errors import ErrorCode, RemoteError, TransferFailed
from blockstep.protocol.options import Limits, negotiate
from blockstep.protocol.wire import ErrorPacket, Opcode, parse_request_untrusted
from blockstep.transport.udp import TIMESPEC
from blockstep_lab.drivers import SendDriver
from blockstep_lab.parties import LISTENER, Party, Plan, served
from blockstep_lab.simnet import Send, SimAddress, SimNet
from blockstep_server.admission import Admission, Claim, Outlook, Place, Policy
from blockstep_server.board import Board, Slot
from blockstep_server.child import Body
from blockstep_server.children import Legacy, Task
from blockstep_server.clerk import Account
from blockstep_server.listen import Arrival
from blockstep_server.reply import ReplySockets
from blockstep_server.report import Result, TransferRecord
from blockstep_server.suspicion import Bounds, Suspicion
from blockstep_server.tally import Tally
from blockstep_server.telling import Telling
from blockstep_server.udp import UdpListener
from soak.ends import Fate, Troubled, maybe_unsealed, sealed

__all__ = ["Habits", "SimChild", "SimServer", "Store", "Violation"]

_HOST = "198.51.100.1"
# From the end of a child until the supervisor has waited for it.
_REAPED_AFTER_S = 0.002
_NO_FILE = "file not found"


_NS = 1_000_000_000
_SO_TIMESTAMPNS = 35  # asm-generic/socket.h


def _stamp_ns(now: float) -> int:
    """What the kernel would write; 0 would mean that it does not say."""
    return 1 + round(now * _NS)


class Violation(AssertionError):
    """Something happened that must not."""


@dataclass(slots=True)
class Store:
    """The server's disk: what is under each name, and every version that ever was, with its time."""

    files: dict[str, bytes]
    versions: list[tuple[float, str, bytes]] = field(default_factory=list)

    def commit(self, name: str, content: bytes, now: float) -> None:
        """The name holds this from now on."""
        self.files[name] = content
        self.versions.append((now, name, content))


@dataclass(frozen=True, slots=True, kw_only=True)
class Habits:
    """What a server is told, and how often something befalls it. Chances from 0 to 1."""

    policy: Policy
    bounds: Bounds
    limits: Limits
    board_slots: int
    strict_source: bool
    fork_fails: float
    fate_of_child: Callable[[Random, float], Fate]


@dataclass(frozen=True, slots=True)
class _Work:
    """A child's body that is not run but looked into: the supervisor only hands it on."""

    arrival: Arrival

    def __call__(self, _telling: Telling) -> TransferRecord:
        raise NotImplementedError


class _Socket:
    """As much of a listening socket as the listener uses; a seat on the simulated network fills it."""

    def __init__(self) -> None:
        self.waiting: deque[tuple[bytes, SimAddress, int]] = deque()

    def recvmsg(self, most_bytes: int, _ancillary: int) -> tuple[bytes, list[Any], int, SimAddress]:
        if not self.waiting:
            raise BlockingIOError
        data, source, came_ns = self.waiting.popleft()
        stamp = (socket.SOL_SOCKET, _SO_TIMESTAMPNS, TIMESPEC.pack(*divmod(came_ns, _NS)))
        return data[:most_bytes], [stamp], 0, source

    def getsockname(self) -> tuple[str, int]:
        return (_HOST, LISTENER[1])


class SimChild(Troubled):
    """One transfer on its fresh port, from the fork until it has been waited for."""

    def __init__(self, server: SimServer, task: Task, slot: Slot | None, send: Send, fate: Fate) -> None:
        assert isinstance(task.body, _Work)
        self.task = task
        self.slot = slot
        self.peer = cast(SimAddress, task.body.arrival.peer)
        self.address: SimAddress | None = None
        self.place: Place | None = None
        self.record: TransferRecord | None = None
        self.sent_content: bytes | None = None
        self._server = server
        self._end_at: float | None = None
        self._heard_ns = 0
        self._account = Account(task.blank, Telling(self._report, slot), clock=lambda: server.net.now)
        super().__init__(Party(sealed(send), self.peer), fate, self._commit_upload)
        self._serve(task.body.arrival.data, sealed(send), server.net.now)

    def is_proven(self) -> bool:
        """As `blockstep_server.children.Child`."""
        return self.slot is not None and self.slot.proven

    def outlook(self) -> Outlook:
        """As that, too."""
        return Outlook() if self.slot is None else Outlook(self.slot.settled, self.slot.heard_ns)

    def next_deadline(self) -> float | None:
        """Also the moment in which the supervisor waits for it."""
        return self._end_at if self._end_at is not None else super().next_deadline()

    def handle_deadline(self, now: float) -> None:
        """Or be buried."""
        if self._end_at is not None:
            self._server.bury(self)
            return
        super().handle_deadline(now)
        self._tell(now)

    def handle_datagram(self, data: bytes, source: SimAddress, now: float) -> None:
        """And tell how far it is."""
        if not self.waits_for_its_disk:
            self._heard_ns = _stamp_ns(now)
        super().handle_datagram(data, source, now)
        self._tell(now)

    def die(self) -> None:
        """Killed, without a record."""
        super().die()
        self._end_at = self._server.net.now + _REAPED_AFTER_S

    def _serve(self, request_untrusted: bytes, send: Send, now: float) -> None:
        """As `blockstep_server.session` does: parse, open, negotiate, answer; one ERROR for what is refused."""
        try:
            request = parse_request_untrusted(request_untrusted)
            self._account.asked(request)
            content = self._server.store.files.get(request.filename)
            if request.opcode is Opcode.RRQ and content is None:
                raise RemoteError(ErrorCode.FILE_NOT_FOUND, _NO_FILE)
            agreed, oack = negotiate(request, self._server.habits.limits, None if content is None else len(content))
        except RemoteError as error:
            self.party.error = error
            self.party.say([ErrorPacket(error.code, str(error)).to_bytes()], now)
            self._tell(now)
            return
        self._account.granted(oack)
        self._account.began()
        self.sent_content = content if request.opcode is Opcode.RRQ else None
        plan = Plan(opcode=request.opcode, content=content or b"", limits=self._server.habits.limits, commit=False)
        self.party = served(send, self.peer, request, plan=plan, granted=(agreed, oack), now=now)
        if self._server.habits.strict_source and self.party.driver is not None:
            self.party.driver.machine.unproven_sends = 1

    def _commit_upload(self, content: bytes, now: float) -> None:
        self._server.store.commit(self._account.record.file, content, now)

    def _tell(self, now: float) -> None:
        driver = self.party.driver
        if driver is not None and driver.machine.proven:
            self._account.proven()
        if self.party.finished or self.party.delivered_at is not None:
            self._account.settled(self._heard_ns)
        if not self.party.finished or self._end_at is not None:
            return
        error = self.party.error
        assert error is None or isinstance(error, RemoteError | TransferFailed)
        stats = driver.machine.stats if driver is not None else None
        record = self._account.ended(error, stats=stats, payload_bytes=stats.payload_bytes if stats else 0)
        line = record.to_line(1)
        _, self.record = TransferRecord.from_line_untrusted(line)
        if self.record != record:
            raise Violation(f"the record changed on its way through the pipe: {record} {self.record}")
        self._end_at = now + _REAPED_AFTER_S

    def _report(self, _record: TransferRecord) -> None:
        raise NotImplementedError  # only connections tell while they live

    @property
    def sender(self) -> SendDriver | None:
        """Its sending machine, if it has one."""
        driver = self.party.driver
        return driver if isinstance(driver, SendDriver) else None


class SimServer:
    """One server process: a node at the listening port, and what `blockstep_server.supervisor` is to its listeners."""

    def __init__(self, net: SimNet, habits: Habits, store: Store, chance: Random) -> None:
        self.net = net
        self.habits = habits
        self.store = store
        self.admission = Admission(habits.policy)
        self.suspicion = Suspicion(habits.bounds, clock=lambda: net.now)
        self.board = Board(habits.board_slots)
        self.tally = Tally()
        self.living: list[SimChild] = []
        self.buried: list[SimChild] = []
        self.claims: set[Claim] = set()
        self.dead = False
        self._chance = chance
        self._socket = _Socket()
        self._listener = UdpListener(
            cast(Any, self._socket),
            self,
            self._make_body,
            suspicion=self.suspicion,
            chance=chance.random,
        )

    # What the network drives

    def handle_datagram(self, data: bytes, source: SimAddress, _now: float) -> None:
        """A datagram on the listening port."""
        packet = maybe_unsealed(data)
        if not self.dead and packet is not None:
            self._socket.waiting.append((packet, source, _stamp_ns(self.net.now)))
            self._listener.handle_readable()

    def handle_deadline(self, _now: float) -> None:
        """None is ever named."""

    def next_deadline(self) -> float | None:
        """The children have theirs."""
        return None

    def die(self) -> None:
        """The supervisor is killed, and its children with it."""
        self.dead = True
        for child in self.living:
            child.dead = True
            self.net.detach(child)

    # What the listener needs (`blockstep_server.supervisor.Host`)

    def spawn(self, task: Task) -> object:
        """Fork, and hold a place."""
        if self._chance.random() < self.habits.fork_fails:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        slot = self.board.maybe_take()
        fate = self.habits.fate_of_child(self._chance, self.net.now)
        child = self.net.attach((LISTENER[0], 0), lambda send: SimChild(self, task, slot, send, fate))
        child.address = self.net.address_of(child)
        self.living.append(child)
        if task.watcher is not None:
            task.watcher.started(child.is_proven)
        child.place = self.admission.occupy(task.claim, child.outlook)
        self.claims.add(task.claim)
        self._check_places(child)
        return child

    def refuse(self, reason: str, _source: str) -> None:
        """Count who is turned away."""
        self.tally.add_refusal(reason)

    def rest(self, listener: object, seconds: float) -> None:
        """Only stream listeners ask for it."""
        raise NotImplementedError

    def bury(self, child: SimChild) -> None:
        """Wait for a child that has ended: as `Children.reap` and `Supervisor._reap`."""
        self.net.detach(child)
        self.living.remove(child)
        self.buried.append(child)
        if child.task.watcher is not None:
            child.task.watcher.ended(proven=child.is_proven())
        legacy = Legacy() if child.slot is None else Legacy(child.slot.left, child.outlook())
        self.board.give_back(child.slot)
        if child.place is not None:
            self.admission.release(child.place)
        obituary = replace(child.task.blank, result=Result.CRASHED, detail="killed by signal 9", status=137)
        self.tally.add(child.record or obituary)
        child.task.afterwards(legacy)

    def _make_body(self, arrival: Arrival, _sockets: ReplySockets | None) -> Body:
        return _Work(arrival)

    def _check_places(self, newest: SimChild) -> None:
        policy, bounds = self.habits.policy, self.habits.bounds
        if len(self.admission) != len(self.living):
            raise Violation(f"{len(self.admission)} places are held for {len(self.living)} children")
        if len(self.living) > policy.max_sessions:
            raise Violation(f"{len(self.living)} transfers, {policy.max_sessions} allowed")
        source = newest.task.claim.source
        own = [child for child in self.living if child.task.claim.source == source]
        busy = [child for child in own if not child.outlook().settled]
        share = policy.max_per_client or policy.max_sessions
        if len(busy) > share or len(own) > 2 * share:
            raise Violation(f"{len(own)} transfers of {source}, {len(busy)} of them busy")
        half_open = [child for child in own if not child.is_proven()]
        if len(half_open) > bounds.half_open_per_client:
            raise Violation(f"{len(half_open)} half-open transfers of {source}")
        claims = [child.task.claim for child in self.living if not child.outlook().settled]
        if len(set(claims)) < len(claims):
            raise Violation("one request has two children")
