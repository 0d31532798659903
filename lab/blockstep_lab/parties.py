"""A TFTP client and a TFTP server for the simulated network, made of the real machines and the real negotiation.

Decided here: what stands between the network and a machine, which is what `blockstep.transport` and the server do with
sockets: a fresh port for each request (or the one port for all), strangers are told so, an offence is answered with its
ERROR, and the transfer ends. Not modelled: that a closed port answers. Here it is silent, which is the worse case for
whoever is left; and disks, which here take no time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from blockstep.protocol.errors import ErrorCode, LocalError, RemoteError, TftpError, TransferFailed
from blockstep.protocol.opening import Opening
from blockstep.protocol.options import Agreed, Limits, Wanted, negotiate
from blockstep.protocol.receiver import Receiver
from blockstep.protocol.sender import Sender
from blockstep.protocol.states import Role
from blockstep.protocol.timer import CEILING_S, GIVE_UP_S, ResendTimer
from blockstep.protocol.wire import ErrorPacket, Opcode, OptionAck, Request, ack_bytes, parse_request_untrusted
from blockstep_lab.drivers import Driver, ReceiveDriver, SendDriver, ring
from blockstep_lab.simnet import Send, SimAddress, SimNet

__all__ = ["LISTENER", "Client", "Listener", "Party", "Plan", "served"]

LISTENER: SimAddress = ("server", 69)
# A client asks again so many times, as `blockstep get` does unless it is told otherwise.
_CLIENT_TRIES = 6
# Reading this many blocks ahead, as the pump does, is what makes a lock-step transfer cheap.
_ROOMY = 64
_REQUESTS = (b"\0\1", b"\0\2")
_UNKNOWN_TID = ErrorPacket(ErrorCode.UNKNOWN_TID, "unknown transfer ID").to_bytes()


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What both sides are to do. `content` is the file, wherever it is at first; `name` is what the client calls it.

    `segments`: how many blocks one send call takes; `load_blocks`: how many one read of the file fills; `spare_slots`:
    how much larger than one window the sender's ring is (None: by another window, or more). `commit`: as soon as a file
    is whole it is on the disk; False leaves that to whoever drives the parties. `patience_s`: how long a client goes on
    without progress (None: six of its longest waits, as `blockstep get` does).
    """

    opcode: Opcode = Opcode.RRQ
    content: bytes = b""
    name: str = "name"
    wanted: Wanted = field(default_factory=Wanted)
    limits: Limits = field(default_factory=Limits)
    single_port: bool = False
    segments: int = 64
    load_blocks: int = 65535
    spare_slots: int | None = None
    commit: bool = True
    patience_s: float | None = None

    def sending(
        self, role: Role, agreed: Agreed, timer: ResendTimer, *, now: float, opening: bytes | None = None
    ) -> SendDriver:
        """A driver that sends the content."""
        spare = max(agreed.windowsize, _ROOMY) if self.spare_slots is None else self.spare_slots
        arena = ring(agreed, min(agreed.windowsize + spare, 65535))
        sender = Sender(role, agreed, timer, arena=arena, now=now, opening=opening)
        return SendDriver(sender, self.content, limit=self.segments, load_blocks=self.load_blocks)

    def ceiling_s(self, agreed: Agreed | None = None) -> float:
        """The longest wait before a resend."""
        return (self.wanted.timeout_s if agreed is None else agreed.timeout_s) or CEILING_S


class Party:
    """One end of a transfer after its request: a driver whose packets go to one peer.

    `delivered_at` is when this end knew that the file was whole, `error` how it ended otherwise, `sent` counts packets;
    `heard_at` is when the peer said something last.
    """

    def __init__(self, send: Send, peer: SimAddress) -> None:
        self.peer = peer
        self.driver: Driver | None = None
        self.error: TftpError | None = None
        self.delivered_at: float | None = None
        self.sent = 0
        self.last_sent_at = 0.0
        self.heard_at = 0.0
        self._send = send

    @property
    def finished(self) -> bool:
        """True when nothing more will come of it."""
        return self.error is not None or (self.driver is not None and self.driver.machine.finished)

    def next_deadline(self) -> float | None:
        """The machine's."""
        driver = self.driver
        if driver is None or self.error is not None or driver.machine.finished:
            return None
        return driver.machine.next_deadline()

    def handle_datagram(self, data: bytes, source: SimAddress, now: float) -> None:
        """What the peer says goes to the machine; others hear that they are wrong here."""
        driver = self.driver
        if driver is None or self.error is not None or driver.machine.finished:
            return  # its socket is closed
        if source == self.peer:
            self.heard_at = now
            self.step(driver.take, data, now)
        else:
            self._send(_UNKNOWN_TID, source)

    def handle_deadline(self, now: float) -> None:
        """The machine's deadline has come."""
        driver = self.driver
        if driver is not None and not self.finished:
            self.step(driver.expire, now)

    def step(self, action: Callable[..., list[bytes]], *what: Any) -> None:
        """Do `action(*what)`, the last of which is the time, and send what it gives.

        As the pump: what goes wrong ends it, and the peer is told if it has shown itself and does not know.
        """
        now: float = what[-1]
        try:
            self.say(action(*what), now)
        except (RemoteError, TransferFailed) as error:
            self._fail(error, now)
        if self.delivered_at is None and self.driver is not None and self.driver.machine.delivered:
            self.delivered_at = now

    def _fail(self, error: RemoteError | TransferFailed, now: float) -> None:
        machine = self.driver.machine if self.driver is not None else None
        if machine is not None and machine.delivered:
            return  # the file is whole, whatever is said now
        self.error = error
        if isinstance(error, RemoteError) and (machine is None or machine.proven):
            self.say([ErrorPacket(error.code, str(error)).to_bytes()], now)

    def say(self, packets: list[bytes], now: float) -> None:
        """Send packets to the peer."""
        for packet in packets:
            self.sent += 1
            self.last_sent_at = now
            self._send(packet, self.peer)


class Client(Party):
    """`Opening`, then the machine. It asks as soon as it exists, which is `now`."""

    def __init__(self, send: Send, plan: Plan, *, now: float = 0.0) -> None:
        super().__init__(send, LISTENER)
        self._plan = plan
        ceiling_s = plan.ceiling_s()
        patience_s = _CLIENT_TRIES * ceiling_s if plan.patience_s is None else plan.patience_s
        timer = ResendTimer(ceiling_s=ceiling_s, give_up_s=patience_s)
        request = Request(plan.opcode, plan.name, "octet", plan.wanted.to_options())
        self.opening = Opening(request, plan.wanted, timer, now=now)
        self.say(self._due_request(now), now)

    def next_deadline(self) -> float | None:
        """The request's, then the machine's."""
        if self.driver is None and self.error is None:
            return self.opening.next_deadline()
        return super().next_deadline()

    def handle_datagram(self, data: bytes, source: SimAddress, now: float) -> None:
        """The first answer from the server's host names its port."""
        if self.driver is not None or self.error is not None:
            super().handle_datagram(data, source, now)
        elif source[0] == LISTENER[0]:
            self.step(self._open, data, source, now)

    def handle_deadline(self, now: float) -> None:
        """Ask again, or what the machine does."""
        if self.driver is None and self.error is None:
            self.step(self._ask_again, now)
        else:
            super().handle_deadline(now)

    def _due_request(self, now: float) -> list[bytes]:
        packet = self.opening.poll_request(now)
        return [] if packet is None else [packet]

    def _ask_again(self, now: float) -> list[bytes]:
        self.opening.handle_deadline(now)
        return self._due_request(now)

    def _open(self, data: bytes, source: SimAddress, now: float) -> list[bytes]:
        opening = self.opening
        if not opening.handle_answer(memoryview(data), now):
            return []
        self.peer = source
        if opening.role is Role.PUT:
            self.driver = self._plan.sending(Role.PUT, opening.agreed, opening.timer, now=now)
            return self.driver.flush(now)
        receiver = Receiver(Role.GET, opening.agreed, opening.timer, now=now, first_ack=opening.by_oack)
        self.driver = ReceiveDriver(receiver, commit=self._plan.commit)
        return self.driver.flush(now) if opening.by_oack else self.driver.take(data, now)


class Listener:
    """The server's port: a party for each request, on a fresh port or on this one; `parties` keeps all of them."""

    def __init__(self, send: Send, net: SimNet, plan: Plan) -> None:
        self.parties: list[Party] = []
        self._send = send
        self._net = net
        self._plan = plan

    @property
    def current(self) -> Party | None:
        """The newest party."""
        return self.parties[-1] if self.parties else None

    def next_deadline(self) -> float | None:
        """Of the party that lives on this port, if one does."""
        return self.current.next_deadline() if self._plan.single_port and self.current else None

    def handle_deadline(self, now: float) -> None:
        """For that party."""
        if self.current is not None:
            self.current.handle_deadline(now)

    def handle_datagram(self, data: bytes, source: SimAddress, now: float) -> None:
        """A request makes a new party, unless it repeats one that is being served."""
        current = self.current
        if self._plan.single_port and current and not current.finished:
            current.handle_datagram(data, source, now)
        elif data[:2] in _REQUESTS and (current is None or _is_over(current)):
            try:
                self._admit(data, source, now)
            except RemoteError as error:
                self._send(ErrorPacket(error.code, str(error)).to_bytes(), source)

    def _admit(self, data: bytes, source: SimAddress, now: float) -> None:
        request = parse_request_untrusted(data)
        agreed, oack = negotiate(request, self._plan.limits, len(self._plan.content))

        def serve(send: Send) -> Party:  # begun before it is attached: the network asks for its deadline then
            return served(send, source, request, plan=self._plan, granted=(agreed, oack), now=now)

        self.parties.append(serve(self._send) if self._plan.single_port else self._net.attach((LISTENER[0], 0), serve))


def served(
    send: Send,
    peer: SimAddress,
    request: Request,
    *,
    plan: Plan,
    granted: tuple[Agreed, OptionAck | None],
    now: float,
) -> Party:
    """The server's end of the transfer that `request` asks for; its first packet has been sent."""
    party = Party(send, peer)
    agreed, oack = granted
    ceiling_s = plan.ceiling_s(agreed)
    timer = ResendTimer(ceiling_s=ceiling_s, give_up_s=max(GIVE_UP_S, 2 * ceiling_s))
    opening = oack.to_bytes() if oack else None
    driver: Driver
    if request.opcode is Opcode.RRQ:
        driver = plan.sending(Role.SERVE_READ, agreed, timer, now=now, opening=opening)
    else:
        receiver = Receiver(Role.SERVE_WRITE, agreed, timer, now=now, opening=opening or ack_bytes(0))
        driver = ReceiveDriver(receiver, commit=plan.commit)
    party.driver = driver
    party.step(driver.flush, now)
    return party


def _is_over(party: Party) -> bool:
    """It has failed before its client had ever answered: who has answered is not asking, his request is an old one."""
    if party.driver is None:
        raise LocalError("a party of a listener has a driver from the start")
    return party.error is not None and not party.driver.machine.proven
