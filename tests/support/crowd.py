"""Many real clients at once in one process: our machines behind non-blocking sockets and one `poll`.

Decided here: all requests are on their way before the first answer is looked at, and nobody asks again for want of
patience. The first wait is two minutes, so a request that had to be repeated was lost, and not just slow to be
answered on a busy machine; `Member.opening.resends` counts them.
"""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass

from blockstep.protocol.opening import Opening
from blockstep.protocol.options import Wanted
from blockstep.protocol.receiver import Receiver
from blockstep.protocol.sender import Sender
from blockstep.protocol.timer import ResendTimer
from blockstep.protocol.wire import Opcode, Request
from blockstep_lab.drivers import Driver, ReceiveDriver, SendDriver, ring

__all__ = ["Errand", "Member", "send_crowd"]

FIRST_WAIT_S = 120.0
PATIENCE_S = 240.0
DEADLINES_EVERY_S = 0.02
BATCH = 64
RECEIVE_BYTES = 65536


@dataclass(frozen=True, slots=True)
class Errand:
    """One file to fetch, or to bring where `opcode` is WRQ; `content` is what it holds."""

    opcode: Opcode
    name: str
    content: bytes
    wanted: Wanted


class Member:
    """One client of the crowd. TftpError and OSError of its transfer are not caught: they end the test."""

    def __init__(self, errand: Errand, server: tuple[str, int]) -> None:
        now = time.monotonic()
        self.errand = errand
        request = Request(errand.opcode, errand.name, "octet", errand.wanted.to_options())
        timer = ResendTimer(first_s=FIRST_WAIT_S, ceiling_s=FIRST_WAIT_S, give_up_s=PATIENCE_S)
        self.opening = Opening(request, errand.wanted, timer, now=now)
        self.driver: Driver | None = None
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.setblocking(False)
        self.sock.bind((server[0], 0))
        self._server = server
        self._server_left = False
        self._ask(now)

    def _ask(self, now: float) -> None:
        packet = self.opening.poll_request(now)
        if packet is not None:
            self.sock.sendto(packet, self._server)

    @property
    def over(self) -> bool:
        return self._server_left or (self.driver is not None and self.driver.machine.finished)

    @property
    def received(self) -> bytes:
        """The file as it arrived."""
        assert isinstance(self.driver, ReceiveDriver)
        return bytes(self.driver.received)

    def handle_readable(self) -> None:
        """Take what is there, a batch at most, and answer it."""
        try:
            self._take_batch()
        except ConnectionRefusedError:
            # It has our last ACK, and we have acknowledged a late copy of the last block once more.
            if self.driver is None or not self.driver.machine.delivered:
                raise
            self._server_left = True

    def _take_batch(self) -> None:
        for _ in range(BATCH):
            try:
                datagram, source = self.sock.recvfrom(RECEIVE_BYTES)
            except BlockingIOError:
                return
            now = time.monotonic()
            if self.driver is None:
                self._begin(datagram, source, now)
            elif not self.over:
                self._send(self.driver.take(datagram, now))

    def _begin(self, datagram: bytes, source: tuple[str, int], now: float) -> None:
        if not self.opening.handle_answer(memoryview(datagram), now):
            return
        self.sock.connect(source)
        agreed, by_oack, timer = self.opening.agreed, self.opening.by_oack, ResendTimer(give_up_s=PATIENCE_S)
        if self.errand.opcode is Opcode.WRQ:
            sender = Sender(self.opening.role, agreed, timer, arena=ring(agreed), now=now)
            self.driver = SendDriver(sender, self.errand.content)
        else:
            self.driver = ReceiveDriver(Receiver(self.opening.role, agreed, timer, now=now, first_ack=by_oack))
            if not by_oack:
                self._send(self.driver.take(datagram, now))
        self._send(self.driver.flush(now))

    def handle_time(self, now: float) -> None:
        """Do what is due, if anything is. A dallying client only ends, and sends nothing."""
        machine = self.opening if self.driver is None else self.driver.machine
        if now < machine.next_deadline():
            return
        if self.driver is not None:
            self._send(self.driver.expire(now))
            return
        self.opening.handle_deadline(now)
        self._ask(now)

    def _send(self, datagrams: list[bytes]) -> None:
        for datagram in datagrams:
            self.sock.send(datagram)


def send_crowd(errands: Sequence[Errand], server: tuple[str, int]) -> list[Member]:
    """Send everybody at once and wait until the last one is done; all sockets are closed then."""
    members = [Member(errand, server) for errand in errands]
    try:
        _run({member.sock.fileno(): member for member in members})
    finally:
        for member in members:
            member.sock.close()
    return members


def _run(waiting: dict[int, Member]) -> None:
    poll = select.poll()
    for fd in waiting:
        poll.register(fd, select.POLLIN)
    look_at = 0.0
    while waiting:
        for fd, _ in poll.poll(DEADLINES_EVERY_S * 1000):
            waiting[fd].handle_readable()
        now = time.monotonic()
        if now < look_at:
            continue
        look_at = now + DEADLINES_EVERY_S
        for fd, member in list(waiting.items()):
            if not member.over:
                member.handle_time(now)
            else:
                poll.unregister(fd)
                del waiting[fd]
