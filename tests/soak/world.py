"""One small world, drawn from a seed: a server, a few clients, forgers, bad links, crashes; told to its end.

Decided here: what is drawn, and how often. Sizes are small on purpose, so that tens of thousands of worlds take a
minute: what goes wrong goes wrong between two packets, and three blocks have as many such places as three thousand. A
few are larger. What must be true of a world afterwards is in `rules`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

from blockstep.protocol.options import Limits, Wanted
from blockstep.protocol.wire import Opcode, Request
from blockstep_lab.parties import LISTENER, Plan
from blockstep_lab.simnet import Send, SimAddress, SimLink, SimNet
from blockstep_server.admission import Policy
from blockstep_server.suspicion import Bounds
from soak.ends import Fate, SimClient, maybe_unsealed, sealed
from soak.server import Habits, SimServer, Store

__all__ = ["Victim", "World", "told"]

_NAMES = ("boot", "config")
_HOSTS = ("192.0.2.1", "192.0.2.2")
_LONGEST_S = 4000.0
_EVENTS_MOST = 200_000


class Victim:
    """An address that is said to ask. It never answers, and counts what it gets."""

    def __init__(self, send: Send, requests: list[tuple[float, bytes]]) -> None:
        self.asked = 0
        self.got: list[int] = []
        self._send = sealed(send)
        self._requests = requests

    def next_deadline(self) -> float | None:
        """The next request in its name."""
        return self._requests[0][0] if self._requests else None

    def handle_deadline(self, _now: float) -> None:
        """Somebody asks in its name."""
        _, words = self._requests.pop(0)
        self.asked += 1
        self._send(words, LISTENER)

    def handle_datagram(self, data: bytes, _source: SimAddress, _now: float) -> None:
        """What it has to bear."""
        self.got.append(len(maybe_unsealed(data) or b""))


class _Beginning:
    """Attaches a client when its time has come."""

    def __init__(self, world: World, host: str, plan: Plan, *, at: float, fate: Fate) -> None:
        self._world, self._host, self._plan, self._fate = world, host, plan, fate
        self._at: float | None = at

    def next_deadline(self) -> float | None:
        return self._at

    def handle_deadline(self, now: float) -> None:
        self._at = None
        make = self._world.net.attach
        client = make((self._host, 0), lambda send: SimClient(send, self._plan, self._fate, now=now))
        self._world.clients.append((self._world.net.address_of(client), client))

    def handle_datagram(self, data: bytes, source: SimAddress, now: float) -> None:
        raise NotImplementedError


class _Restart:
    """Kills the server at its time and starts another one, on the same disk, a little later."""

    def __init__(self, world: World, at: float) -> None:
        self._world = world
        self._times = [at, at + 0.5]

    def next_deadline(self) -> float | None:
        return self._times[0] if self._times else None

    def handle_deadline(self, _now: float) -> None:
        self._times.pop(0)
        if self._times:
            self._world.server.die()
            self._world.net.detach(self._world.server)
        else:
            self._world.start_server()

    def handle_datagram(self, data: bytes, source: SimAddress, now: float) -> None:
        raise NotImplementedError


@dataclass
class World:
    """What there is. `clients` with their addresses, `servers` one after another; `links` by the client's host.

    `first_files` is what the disk held at first."""

    seed: int
    net: SimNet
    habits: Habits
    store: Store
    links: dict[str, SimLink]
    first_files: dict[str, bytes]
    clients: list[tuple[SimAddress, SimClient]] = field(default_factory=list)
    victims: list[Victim] = field(default_factory=list)
    servers: list[SimServer] = field(default_factory=list)

    @property
    def server(self) -> SimServer:
        """The one that lives, or died last."""
        return self.servers[-1]

    def start_server(self) -> None:
        """A fresh process on the same disk."""
        chance = Random(f"soak/{self.seed}/server/{len(self.servers)}")
        make = self.net.attach
        self.servers.append(make(LISTENER, lambda _send: SimServer(self.net, self.habits, self.store, chance)))


def told(seed: int, *, trace_limit: int = 0) -> World:
    """The world of this seed when nothing is left to happen. SimulationEndless or Violation if it is a bad one."""
    chance = Random(f"soak/{seed}")
    net = SimNet(seed, max_events=_EVENTS_MOST, max_virtual_s=_LONGEST_S, trace_limit=trace_limit)
    links = {host: net.link(host, LISTENER[0], up=(up := _link(chance)), down=_link(chance) or up) for host in _HOSTS}
    store = Store({name: _content(chance, f"{seed}/old/{name}") for name in _NAMES})
    world = World(seed, net, _habits(chance), store, links, dict(store.files))
    world.start_server()
    for number in range(chance.choice([1, 1, 1, 2, 2, 3])):
        _add_client(world, chance, number)
    for number in range(chance.choice([0, 0, 0, 1, 2])):
        _add_victim(world, chance, number)
    if chance.random() < 0.1:
        net.attach(("crash", 0), lambda _send: _Restart(world, chance.expovariate(2)))
    net.run()
    return world


def _habits(chance: Random) -> Habits:
    child_dies, disk_fails = chance.choice([0, 0, 0.3]), chance.choice([0, 0, 0, 0.3])
    disk_s = chance.choice([0, 0, 0.01, 1.5])

    def fate_of_child(chance: Random, now: float) -> Fate:
        dies_at = now + chance.expovariate(2) if chance.random() < child_dies else None
        return Fate(dies_at, disk_s, chance.random() < disk_fails)

    return Habits(
        policy=Policy(
            max_sessions=chance.choice([1, 2, 4, 1000, 1000]), max_per_client=chance.choice([None, None, 1, 2])
        ),
        bounds=Bounds(
            half_open=chance.choice([1, 2, 750, 750]),
            half_open_per_client=chance.choice([1, 2, 256]),
            burst_per_client=chance.choice([2, 256]),
            per_s_per_client=chance.choice([0.1, 32.0]),
            burst=chance.choice([2, 1000]),
        ),
        limits=Limits(blksize_max=chance.choice([65464, 65464, 512, 8]), windowsize_max=chance.choice([64, 64, 5, 1])),
        board_slots=chance.choice([0, 1, 64, 64]),
        strict_source=chance.random() < 0.2,
        fork_fails=chance.choice([0, 0, 0.2]),
        fate_of_child=fate_of_child,
    )


def _add_client(world: World, chance: Random, number: int) -> None:
    opcode = chance.choice([Opcode.RRQ, Opcode.WRQ])
    plan = Plan(
        opcode=opcode,
        content=_content(chance, f"{world.seed}/new/{number}") if opcode is Opcode.WRQ else b"",
        name=chance.choice([*_NAMES, *_NAMES, "nothing"]),
        wanted=_wanted(chance),
        segments=chance.choice([1, 3, 64]),
        load_blocks=chance.choice([1, 5, 65535]),
        spare_slots=chance.choice([0, 1, 40, None]),
        commit=False,
    )
    at = chance.choice([0.0, chance.random(), 5 * chance.random()])
    dies_at = at + chance.expovariate(2) if chance.random() < 0.15 else None
    fate = Fate(dies_at, chance.choice([0, 0, 0.01, 1.5]), chance.random() < 0.05)
    host = chance.choice(_HOSTS)
    world.net.attach((f"beginning-{number}", 1), lambda _send: _Beginning(world, host, plan, at=at, fate=fate))


def _add_victim(world: World, chance: Random, number: int) -> None:
    opcode, name = chance.choice([Opcode.RRQ, Opcode.WRQ]), chance.choice([*_NAMES, "nothing"])
    words = Request(opcode, name, "octet", _wanted(chance).to_options()).to_bytes()
    times = sorted(chance.uniform(0, 3) for _ in range(chance.choice([1, 2, 6])))
    host = f"203.0.113.{number + 1}"
    world.victims.append(world.net.attach((host, 1024), lambda send: Victim(send, [(time, words) for time in times])))


def _wanted(chance: Random) -> Wanted:
    return Wanted(
        blksize=chance.choice([None, 8, 8, 9, 31, 64]),
        windowsize=chance.choice([None, 1, 2, 3, 4, 8, 16]),
        timeout_s=chance.choice([None, None, None, 0.05, 1, 3]),
        tsize=chance.choice([None, 0]),
        rollover=chance.choice([None, 0, 1]),
    )


def _content(chance: Random, what: str) -> bytes:
    """No two contents, and no two places in one, are alike; a few are large."""
    size = chance.choice([0, 1, 8, 16, 63, 64, 128, 511, 512, chance.randrange(200), chance.randrange(200)])
    if chance.random() < 0.02:
        size = chance.randrange(8 * 600)
    return Random(f"soak/content/{what}").randbytes(size)


def _link(chance: Random) -> str:
    """Words of netem: often nothing at all, sometimes hopeless."""
    words = []
    if delay_ms := chance.choice([0, 0, 1, 5, 20, 80, 200, 700]):
        words.append(f"delay {delay_ms}ms {delay_ms * chance.choice([0, 0, 0.1, 0.5, 1]):g}ms")
    trouble = chance.choice([0, 0.3, 1])
    if loss := chance.choice([0, 1, 5, chance.uniform(0, 30)]) * trouble:
        words.append(f"loss {loss:.2f}%")
    if duplicate := chance.choice([0, 0, 1, 10]) * trouble:
        words.append(f"duplicate {duplicate:.2f}%")
    if corrupt := chance.choice([0, 0, 1, 10]) * trouble:
        words.append(f"corrupt {corrupt:.2f}%")
    if delay_ms and (reorder := chance.choice([0, 0, 1, 10]) * trouble):
        words.append(f"reorder {reorder:.2f}%")
    return " ".join(words)
