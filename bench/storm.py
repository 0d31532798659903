"""Many clients at once, all in one process that never sleeps while there is work.

One event loop over all sockets, each with the machines of our own client behind it. The other way, a process for each
client, costs two switches of process for each block on the client's side; on a machine of few processors that is most
of the time, and hides what the servers cost. Like this one processor is the clients' and the rest is the server's, for
every server alike. Every burst is compared with what it should be; a client whose file differs has failed.

Decided here: all requests go out at once, as after a power cut; the clock stops when the last client has its file.
"""

from __future__ import annotations

import resource
import select
import socket
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from blockstep.protocol.arena import HEADER_BYTES
from blockstep.protocol.errors import End, RemoteError, TransferFailed
from blockstep.protocol.opening import Opening
from blockstep.protocol.options import Wanted
from blockstep.protocol.receiver import Receiver
from blockstep.protocol.states import Role
from blockstep.protocol.timer import FLOOR_S, ResendTimer
from blockstep.protocol.wire import Opcode, Request, ack_bytes
from blockstep.transport.udp import RECEIVE_BYTES, UDP_GRO

_DEADLINES_EVERY_S = 0.005


@dataclass(frozen=True, slots=True, kw_only=True)
class Storm:
    """So many clients for one file, whose content is `expected`. Who has not finished after `limit_s` has failed.

    `hosts`: addresses of this machine that the clients come from, in turn; without them the system chooses.
    """

    address: tuple[str, int]
    name: str
    expected: bytes
    clients: int
    blksize: int = 1428
    windowsize: int = 1
    limit_s: float = 60.0
    floor_s: float = FLOOR_S
    hosts: tuple[str, ...] = ()


@dataclass(slots=True)
class Outcome:
    """What became of a storm.

    `seconds` until the last who finished; `asked_again`: requests that were sent again; `doubled`: blocks that came
    again though they had been received; `asked_for`: ACKs that we sent again, which may have called for those.
    """

    finished: int = 0
    failed: int = 0
    seconds: float = 0.0
    size_bytes: int = 0
    asked_again: int = 0
    asked_for: int = 0
    doubled: int = 0
    granted: tuple[int, int] = (0, 0)
    errors: list[str] = field(default_factory=list)

    @property
    def mb_s(self) -> float:
        """All bytes of those who finished, over the time of the slowest of them, in 10^6 bytes a second."""
        return self.size_bytes / self.seconds / 1e6 if self.seconds else 0.0


class _Client:
    """One of the crowd: an opening, then a receiver, on a socket of its own."""

    def __init__(self, storm: Storm, number: int, now: float) -> None:
        self._storm = storm
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        if storm.hosts:
            self.sock.bind((storm.hosts[number % len(storm.hosts)], 0))
        self.sock.setblocking(False)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * RECEIVE_BYTES)
        self._bursts = storm.windowsize > 1
        wanted = Wanted(blksize=storm.blksize, windowsize=storm.windowsize if self._bursts else None)
        request = Request(Opcode.RRQ, storm.name, "octet", wanted.to_options())
        timer = ResendTimer(floor_s=storm.floor_s, give_up_s=storm.limit_s)
        self.opening = Opening(request, wanted, timer, now=now)
        self.receiver: Receiver | None = None
        self.done_at: float | None = None
        self.error: str | None = None
        self._offset = 0

    @property
    def over(self) -> bool:
        """Nothing is to be sent or awaited any more."""
        return self.error is not None or (self.receiver is not None and self.receiver.finished)

    def step(self, now: float) -> None:
        """Send what is due without anything having come."""
        machine = self.receiver or self.opening
        if now >= machine.next_deadline():
            machine.handle_deadline(now)
        if self.receiver is not None:
            self._acknowledge(now)
        elif (packet := self.opening.poll_request(now)) is not None:
            self.sock.sendto(packet, self._storm.address)

    def handle_readable(self, memory: bytearray, now: float) -> None:  # hot path
        """Take one datagram or burst, and answer."""
        if self.receiver is None:
            self._handle_answer(memory, now)
            return
        if not self._bursts:
            got = stride = self.sock.recv_into(memory)
        else:
            got, ancillary, _flags, _peer = self.sock.recvmsg_into((memory,), 64)
            stride = struct.unpack_from("i", ancillary[0][2])[0] if ancillary else got
        self._take(memory, got, stride, now)
        self._acknowledge(now)

    def _handle_answer(self, memory: bytearray, now: float) -> None:
        got, source = self.sock.recvfrom_into(memory)
        if not self.opening.handle_answer(memoryview(memory)[:got], now):
            return
        self.sock.connect(source)
        agreed, by_oack = self.opening.agreed, self.opening.by_oack
        self.receiver = Receiver(Role.GET, agreed, self.opening.timer, now=now, first_ack=by_oack)
        self._bursts = agreed.windowsize > 1
        if self._bursts:
            self.sock.setsockopt(socket.IPPROTO_UDP, UDP_GRO, 1)
        if not by_oack:
            self._take(memory, got, got, now)
        self._acknowledge(now)

    def _take(self, memory: bytearray, got: int, stride: int, now: float) -> None:  # hot path
        receiver = self.receiver
        assert receiver is not None
        for payload in self._accepted(receiver, (memory, got, stride), now):
            if self._storm.expected[self._offset : self._offset + len(payload)] != payload:
                raise TransferFailed(End.LOCAL_WRITE, "wrong bytes")
            self._offset += len(payload)
        if receiver.complete and not receiver.delivered:
            self.done_at = now
            receiver.settled(now)

    @staticmethod
    def _accepted(receiver: Receiver, arrived: tuple[bytearray, int, int], now: float) -> Iterator[memoryview]:
        """The payloads that the machine takes, in order."""
        memory, got, stride = arrived
        view = memoryview(memory)
        if receiver.receive_burst(memory, got, stride, now):
            yield from (view[start + HEADER_BYTES : min(start + stride, got)] for start in range(0, got, stride))
            return
        for start in range(0, got, stride):
            if not receiver.finished:
                yield from receiver.receive_segment(view[start : min(start + stride, got)], now)

    def _acknowledge(self, now: float) -> None:  # hot path
        assert self.receiver is not None
        if (wire := self.receiver.poll_ack(now)) is not None:
            self.sock.send(ack_bytes(wire))


def run_storm(storm: Storm) -> Outcome:
    """Send all requests, serve all sockets until everybody is done or the time is over."""
    _allow_descriptors(storm.clients + 64)
    start = time.monotonic()
    clients = [_Client(storm, number, start) for number in range(storm.clients)]
    epoll = select.epoll()
    try:
        for client in clients:
            epoll.register(client.sock, select.EPOLLIN)
        _serve(clients, epoll, start + storm.limit_s)
    finally:
        epoll.close()
        for client in clients:
            client.sock.close()
    return _summed_up(storm, clients, start)


def _serve(clients: list[_Client], epoll: select.epoll, until: float) -> None:  # hot path
    by_fd = {client.sock.fileno(): client for client in clients}
    memory = bytearray(RECEIVE_BYTES)
    clock = time.monotonic
    look_at = 0.0
    while by_fd:
        for fd, _ in epoll.poll(_DEADLINES_EVERY_S):
            client = by_fd.get(fd)
            if client is not None and not _guarded(client, memory, clock()):
                epoll.unregister(fd)
                del by_fd[fd]
        now = clock()
        if now < look_at:
            continue
        look_at = now + _DEADLINES_EVERY_S
        for fd, client in list(by_fd.items()):
            if not _guarded(client, None, now):
                epoll.unregister(fd)
                del by_fd[fd]
        if now > until:
            return


def _guarded(client: _Client, memory: bytearray | None, now: float) -> bool:  # hot path
    """One step of one client, because something came (into `memory`) or for the time; False if it is over."""
    try:
        if memory is None:
            client.step(now)
        else:
            client.handle_readable(memory, now)
    except BlockingIOError:
        pass
    except (RemoteError, TransferFailed, OSError) as error:
        if client.done_at is None:
            client.error = str(error)
        return False
    return not client.over


def _summed_up(storm: Storm, clients: list[_Client], start: float) -> Outcome:
    outcome = Outcome()
    for client in clients:
        outcome.asked_again += client.opening.resends
        if client.receiver is not None:
            outcome.asked_for += client.receiver.stats.resends
            outcome.doubled += client.receiver.stats.duplicates
            outcome.granted = (client.receiver.agreed.blksize, client.receiver.agreed.windowsize)
        if client.done_at is None:
            outcome.failed += 1
            outcome.errors.append(client.error or "not finished in time")
        else:
            outcome.finished += 1
            outcome.size_bytes += len(storm.expected)
            outcome.seconds = max(outcome.seconds, client.done_at - start)
    outcome.errors = sorted(set(outcome.errors))[:3]
    return outcome


def _allow_descriptors(wanted: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(
            resource.RLIMIT_NOFILE, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard)
        )
