"""One transfer between the lab's client and server on its virtual network, and everything that can be said of it.

One `Story` is one transfer: everything about it, size, options, link and fate, is drawn from one seed. `tell(story)`
runs it to the end and says what came of it. Not modelled: that a closed port answers (here it is silent), which is the
worse case for whoever is left.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

from blockstep.protocol.errors import TftpError
from blockstep.protocol.options import Agreed, Limits, Wanted
from blockstep.protocol.receiver import Receiver
from blockstep.protocol.sender import Sender
from blockstep.protocol.timer import GIVE_UP_S
from blockstep.protocol.wire import Opcode
from blockstep_lab.drivers import ReceiveDriver, SendDriver
from blockstep_lab.parties import LISTENER, Client, Listener, Plan
from blockstep_lab.simnet import SimNet

__all__ = ["Outcome", "Story", "content_of_size", "tell"]


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

    def plan(self, content: bytes) -> Plan:
        """What both sides are to do."""
        return Plan(
            opcode=self.opcode,
            content=content,
            wanted=self.wanted,
            limits=self.limits,
            single_port=self.single_port,
            segments=self.segments,
            load_blocks=self.load_blocks,
            spare_slots=self.spare_slots,
            patience_s=GIVE_UP_S,
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


def tell(story: Story) -> Outcome:
    """Run the story until nothing is left to happen. A simulation without an end raises and says the seed."""
    net = SimNet(story.seed, max_events=400_000, max_virtual_s=3600, trace_limit=400)
    link = net.link("client", "server", up=story.up, down=story.down)
    content = content_of_size(story.size_bytes)
    plan = story.plan(content)
    listener = net.attach(LISTENER, lambda send: Listener(send, net, plan))
    client = net.attach(("client", 0), lambda send: Client(send, plan))

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
