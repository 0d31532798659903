"""A client and a server on the lab's virtual network, made of the real machines and the real negotiation.

One `Story` is one transfer: everything about it, size, options, link and fate, is drawn from one seed. `tell(story)`
runs it to the end and says what came of it. Not modelled: that a closed port answers (here it is silent), which is the
worse case for whoever is left.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from blockstep.protocol.errors import RemoteError, TftpError, TransferFailed
from blockstep.protocol.opening import Opening
from blockstep.protocol.options import Agreed, Limits, Wanted, negotiate
from blockstep.protocol.receiver import Receiver
from blockstep.protocol.sender import Sender
from blockstep.protocol.states import Role
from blockstep.protocol.timer import ResendTimer
from blockstep.protocol.wire import ErrorPacket, Opcode, Request, ack_bytes, parse_request_untrusted
from blockstep_lab.simnet import Send, SimAddress, SimNet
from support.drivers import Driver, ReceiveDriver, SendDriver, ring

__all__ = ["Outcome", "Story", "content_of_size", "tell"]

_LISTENER = ("server", 69)


@dataclass(frozen=True)
class Story:
    """One transfer and its circumstances. Percentages and seconds; `up` is from the client to the server."""

    seed: int
    opcode: Opcode = Opcode.RRQ
    size_bytes: int = 0
    wanted: Wanted = field(default_factory=Wanted)
    limits: Limits = field(default_factory=Limits)
    up: str = ""
    down: str = ""
    single_port: bool = False
    segments: int = 64
    load_blocks: int = 65535
    spare_slots: int = 0

    @classmethod
    def drawn(cls, seed: int) -> Story:
        """The story of this seed."""
        chance = Random(f"story/{seed}")
        blksize = chance.choice([None, 8, 8, 9, 31, 64, 512, 1428])
        windowsize = chance.choice([None, 1, 2, 3, 4, 7, 8, 16, 16, 32, 64])
        wanted = Wanted(
            blksize=blksize,
            windowsize=windowsize,
            timeout_s=chance.choice([None, None, None, 0.05, 1, 3]),
            tsize=chance.choice([None, 0]),
            rollover=chance.choice([None, 0, 1]),
        )
        limits = Limits(blksize_max=chance.choice([65464, 65464, 512, 8]), windowsize_max=chance.choice([64, 64, 5, 1]))
        block, window = min(blksize or 512, limits.blksize_max), min(windowsize or 1, limits.windowsize_max)
        size = chance.choice([0, 1, block - 1, block, window * block, _some(chance, block), _some(chance, block)])
        return cls(
            seed=seed,
            opcode=chance.choice([Opcode.RRQ, Opcode.WRQ]),
            size_bytes=max(0, size + chance.choice([0, 0, 0, -1, 1])),
            wanted=wanted,
            limits=limits,
            up=(link := _link(chance)),
            down=chance.choice([link, link, _link(chance)]),
            single_port=chance.random() < 0.25,
            segments=chance.choice([1, 3, 64]),
            load_blocks=chance.choice([1, 5, 65535]),
            spare_slots=chance.choice([0, 0, 1, window, 40]),
        )


def _some(chance: Random, block: int) -> int:
    return block * chance.choice([chance.randint(1, 40), chance.randint(1, 150)]) + chance.choice([0, 1, block // 2])


def _link(chance: Random) -> str:
    """Words of netem: nothing, or some of loss, doubles and reordering, with or without a distance."""
    words = []
    if delay_ms := chance.choice([0, 0, 1, 5, 20, 80, 200, 700]):
        words.append(f"delay {delay_ms}ms {delay_ms * chance.choice([0, 0, 0.1, 0.5, 1]):g}ms")
    trouble = chance.choice([0, 0, 0.3, 1])  # how bad it is
    if loss := chance.choice([0, 1, 5, chance.uniform(0, 30)]) * trouble:
        words.append(f"loss {loss:.2f}%")
    if duplicate := chance.choice([0, 0, 1, 10]) * trouble:
        words.append(f"duplicate {duplicate:.2f}%")
    if delay_ms and (reorder := chance.choice([0, 0, 1, 10]) * trouble):
        words.append(f"reorder {reorder:.2f}%")
    return " ".join(words)


def content_of_size(size: int) -> bytes:
    """A file in which no two blocks of 8 bytes are alike."""
    return b"".join(number.to_bytes(8, "big") for number in range(size // 8 + 1))[:size]


@dataclass
class Outcome:
    """What came of a story. `*_error` are the ends of the two sides, None for a good one; times are virtual.

    `data_packets` are all that the sending side sent, its request or OACK among them. `troubles` counts what the link
    lost, doubled or reordered, both ways.
    """

    story: Story
    content: bytes
    received: bytes | None
    client_error: TftpError | None
    server_error: TftpError | None
    agreed: Agreed
    sender: Sender | None
    receiver: Receiver | None
    delivered_at: float | None
    ended_at: float
    packets: int
    data_packets: int
    request_resends: int
    troubles: int
    packets_after_the_end: int
    trace: str

    def explain(self) -> str:
        """Everything that one needs to see it again."""
        return "\n".join(
            [
                f"again: BLOCKSTEP_STORY={self.story.seed} pytest tests/tftp/protocol/test_simulation.py",
                str(self.story),
                f"client: {self.client_error!r}  server: {self.server_error!r}  {self.agreed}",
                f"sender: {self.sender and self.sender.stats}  receiver: {self.receiver and self.receiver.stats}",
                self.trace,
            ]
        )


class Party:
    """One end of a transfer after the request: a driver whose packets go to one peer."""

    def __init__(self, send: Send, peer: SimAddress | None) -> None:
        self.peer = peer
        self.driver: Driver | None = None
        self.error: TftpError | None = None
        self.delivered_at: float | None = None
        self.sent = 0
        self.last_sent_at = 0.0
        self._send = send

    @property
    def finished(self) -> bool:
        return self.error is not None or (self.driver is not None and self.driver.machine.finished)

    def next_deadline(self) -> float | None:
        return None if self.finished or self.driver is None else self.driver.machine.next_deadline()

    def handle_datagram(self, data: bytes, source: SimAddress, now: float) -> None:
        if self.finished:
            return  # its socket is closed
        if source != self.peer:
            self._send(ErrorPacket(5, "unknown transfer ID").to_bytes(), source)
            return
        assert self.driver is not None
        driver = self.driver
        self.step(lambda: driver.take(data, now), now)

    def handle_deadline(self, now: float) -> None:
        assert self.driver is not None
        driver = self.driver
        self.step(lambda: driver.expire(now), now)

    def step(self, action: Callable[[], list[bytes]], now: float) -> None:
        """As the pump: what goes wrong ends it, and the peer is told if it has shown itself and does not know."""
        try:
            self.say(action(), now)
        except (RemoteError, TransferFailed) as error:
            if self.driver is not None and self.driver.machine.delivered:
                return
            self.error = error
            if isinstance(error, RemoteError) and self.peer and (self.driver is None or self.driver.machine.proven):
                self.say([ErrorPacket(error.code, str(error)).to_bytes()], now)
        if self.delivered_at is None and self.driver is not None and self.driver.machine.delivered:
            self.delivered_at = now

    def say(self, packets: list[bytes], now: float) -> None:
        for packet in packets:
            assert self.peer is not None
            self.sent += 1
            self.last_sent_at = now
            self._send(packet, self.peer)


class Client(Party):
    """`Opening`, then the machine."""

    def __init__(self, send: Send, story: Story, content: bytes) -> None:
        super().__init__(send, _LISTENER)
        self._story = story
        self._content = content
        request = Request(story.opcode, "name", "octet", story.wanted.to_options())
        self.opening = Opening(request, story.wanted, ResendTimer(), now=0.0)
        self.say([self.opening.poll_request(0.0) or b""], 0.0)

    def next_deadline(self) -> float | None:
        if self.error is None and self.driver is None:
            return self.opening.next_deadline()
        return super().next_deadline()

    def handle_datagram(self, data: bytes, source: SimAddress, now: float) -> None:
        if self.driver is not None or self.finished:
            super().handle_datagram(data, source, now)
        elif source[0] == "server":
            self.step(lambda: self._open(data, source, now), now)

    def handle_deadline(self, now: float) -> None:
        if self.driver is None:
            self.step(lambda: self._ask_again(now), now)
        else:
            super().handle_deadline(now)

    def _ask_again(self, now: float) -> list[bytes]:
        self.opening.handle_deadline(now)
        packet = self.opening.poll_request(now)
        return [packet] if packet else []

    def _open(self, data: bytes, source: SimAddress, now: float) -> list[bytes]:
        opening = self.opening
        if not opening.handle_answer(memoryview(data), now):
            return []
        self.peer = source
        if opening.role is Role.GET:
            receiver = Receiver(Role.GET, opening.agreed, opening.timer, now=now, first_ack=opening.by_oack)
            driver: Driver = ReceiveDriver(receiver)
        else:
            driver = _sending(Role.PUT, opening.agreed, opening.timer, self._story, self._content, now)
        self.driver = driver
        return driver.flush(now) if opening.by_oack or opening.role is Role.PUT else driver.take(data, now)


def _sending(
    role: Role,
    agreed: Agreed,
    timer: ResendTimer,
    story: Story,
    content: bytes,
    now: float,
    opening: bytes | None = None,
) -> SendDriver:
    slots = agreed.windowsize + min(story.spare_slots, 65535 - agreed.windowsize)
    sender = Sender(role, agreed, timer, arena=ring(agreed, slots), now=now, opening=opening)
    return SendDriver(sender, content, limit=story.segments, load_blocks=story.load_blocks)


class Listener:
    """The server's port: a party for each request, on a fresh port or on this one (`single_port`)."""

    def __init__(self, send: Send, net: SimNet, story: Story, content: bytes) -> None:
        self.parties: list[Party] = []
        self._send = send
        self._net = net
        self._story = story
        self._content = content

    @property
    def current(self) -> Party | None:
        return self.parties[-1] if self.parties else None

    def next_deadline(self) -> float | None:
        return self.current.next_deadline() if self._story.single_port and self.current else None

    def handle_deadline(self, now: float) -> None:
        assert self.current is not None
        self.current.handle_deadline(now)

    def handle_datagram(self, data: bytes, source: SimAddress, now: float) -> None:
        current = self.current
        if self._story.single_port and current and not current.finished:
            current.handle_datagram(data, source, now)
        elif data[1] in (1, 2) and (current is None or (current.error and not self._is_known(current))):
            self._admit(data, source, now)

    @staticmethod
    def _is_known(party: Party) -> bool:
        """Somebody who has answered us is not asking: his request is an old one."""
        return party.driver is not None and party.driver.machine.proven

    def _admit(self, data: bytes, source: SimAddress, now: float) -> None:
        if self._story.single_port:
            party = self._serve(Party(self._send, source), data, now)
        else:  # begun before it is attached: the network asks for its deadline then
            party = self._net.attach(("server", 0), lambda send: self._serve(Party(send, source), data, now))
        self.parties.append(party)

    def _serve(self, party: Party, data: bytes, now: float) -> Party:
        request = parse_request_untrusted(data)
        agreed, oack = negotiate(request, self._story.limits, len(self._content))
        timer = ResendTimer(ceiling_s=agreed.timeout_s or 4.0)
        packet = oack.to_bytes() if oack else None
        if request.opcode is Opcode.RRQ:
            party.driver = _sending(Role.SERVE_READ, agreed, timer, self._story, self._content, now, packet)
        else:
            opening = packet or ack_bytes(0)
            party.driver = ReceiveDriver(Receiver(Role.SERVE_WRITE, agreed, timer, now=now, opening=opening))
        driver = party.driver
        party.step(lambda: driver.flush(now), now)
        return party


def tell(story: Story) -> Outcome:
    """Run the story until nothing is left to happen. A simulation without an end raises and says the seed."""
    net = SimNet(story.seed, max_events=400_000, max_virtual_s=3600, trace_limit=400)
    link = net.link("client", "server", up=story.up, down=story.down)
    content = content_of_size(story.size_bytes)
    listener = net.attach(_LISTENER, lambda send: Listener(send, net, story, content))
    client = net.attach(("client", 0), lambda send: Client(send, story, content))

    def over() -> bool:
        return client.finished and all(party.finished for party in listener.parties)

    net.run(until=over)
    ended_at, sent = net.now, client.sent + sum(party.sent for party in listener.parties)
    net.run()  # what is still on its way
    server = listener.current
    sides = [party.driver for party in (client, server) if party is not None]
    sending = next((driver for driver in sides if isinstance(driver, SendDriver)), None)
    receiving = next((driver for driver in sides if isinstance(driver, ReceiveDriver)), None)
    counters = [link.up.impairment.counters, link.down.impairment.counters]
    getting = story.opcode is Opcode.RRQ
    return Outcome(
        story=story,
        content=content,
        received=bytes(receiving.received) if receiving and receiving.committed else None,
        client_error=client.error,
        server_error=server.error if server else None,
        agreed=client.driver.machine.agreed if client.driver else Agreed(),
        sender=sending.sender if sending else None,
        receiver=receiving.receiver if receiving else None,
        delivered_at=client.delivered_at if getting or server is None else server.delivered_at,
        ended_at=ended_at,
        packets=sent,
        request_resends=client.opening.resends,
        data_packets=(server.sent if server else 0) if getting else client.sent,
        troubles=sum(each.lost + each.duplicated + each.reordered for each in counters),
        packets_after_the_end=client.sent + sum(party.sent for party in listener.parties) - sent,
        trace=net.format_trace(60),
    )
