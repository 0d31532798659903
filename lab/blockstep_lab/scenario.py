"""A scenario: a server, clients, a bad link and what must come out, as a TOML file.

Decided here: the words of the file, and that every mistake in it is answered with the place and the nearest right word.
Not known here: how a scenario is run; that is `scenario_run`. docs/lab.md explains each key.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from blockstep_lab.conditions import Conditions
from blockstep_lab.links import parse_link
from blockstep_lab.rules import Rule
from blockstep_lab.words import WordsError, did_you_mean

__all__ = ["SHIPPED", "ClientPlan", "Expect", "Scenario", "find_scenario", "parse_scenario", "shipped_scenarios"]

SHIPPED = Path(__file__).parent / "scenarios"

_LARGEST_FILE = 1 << 30
_MOST_COPIES = 1000
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Expect:
    """What must hold for each copy of a client; None asks for nothing. A file that was asked for and came is compared.

    `resends_most` counts DATA on the wire that had been sent before; `round_trips_most` is the time from the first
    packet to the last, in units of the link's delay there and back.
    """

    exit: int = 0
    resends_most: int | None = None
    round_trips_most: float | None = None
    blocks: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientPlan:
    """One client, or `copies` of it at the same time. `command` None is our own client with these `options`.

    `op` is `"get"` or `"put"`; `size_bytes` None means that the file does not exist.
    """

    op: str
    file: str
    size_bytes: int | None
    options: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    copies: int = 1
    expect: Expect = Expect()


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """Everything of one file. `up` is from the clients to the server; `transfers` is how many the server may make."""

    name: str
    about: str
    source: str
    up: Conditions
    down: Conditions
    rules: tuple[Rule, ...]
    seed: str
    mend: bool
    server_options: tuple[str, ...]
    server_command: tuple[str, ...]
    clients: tuple[ClientPlan, ...]
    violations_most: int
    transfers: int | None
    time_limit_s: float

    @property
    def round_trip_s(self) -> float:
        """The delay there and back, without jitter, queue and rate."""
        return sum(each.delay.delay_ns for each in (self.up, self.down) if each.delay is not None) / 1e9


def shipped_scenarios() -> list[Path]:
    """The files that come with the lab, sorted."""
    return sorted(SHIPPED.glob("*.toml"))


def find_scenario(name: str) -> Path:
    """The file of that path, or the shipped one of that name. WordsError names the nearest."""
    path = Path(name)
    if path.is_file():
        return path
    shipped = {each.stem: each for each in shipped_scenarios()}
    if name in shipped:
        return shipped[name]
    raise WordsError(f"no scenario {name!r}, neither a file nor a shipped one{did_you_mean(name, shipped)}")


def parse_scenario(text: str, name: str) -> Scenario:
    """Reads a file's text; WordsError says where it is wrong."""
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise WordsError(f"{name}: {error}") from error
    top = _Table(raw, name)
    up, down, rules, seed, mend = _link(top.table("link"))
    server = top.table("server")
    server_options, server_command = server.texts("options"), server.texts("command")
    server.finish()
    expect = top.table("expect")
    scenario = Scenario(
        name=Path(name).stem,
        about=top.take("about", str, ""),
        source=top.take("source", str, ""),
        up=up,
        down=down,
        rules=rules,
        seed=seed,
        mend=mend,
        server_options=server_options,
        server_command=server_command,
        clients=tuple(_client(each) for each in top.tables("clients")),
        violations_most=expect.integer("violations_most", 0, 10**6, 0),
        transfers=expect.maybe_integer("transfers", 10**6),
        time_limit_s=top.number("time_limit_s", 60.0),
    )
    expect.finish()
    top.finish()
    _check(scenario, name)
    return scenario


def _check(scenario: Scenario, name: str) -> None:
    if not scenario.clients:
        raise WordsError(f"{name}: there are no [[clients]]")
    files = [client.file for client in scenario.clients]
    if len(set(files)) < len(files):
        raise WordsError(f"{name}: two clients have one file; each needs a name of its own, to be told apart")
    bounded = any(client.expect.round_trips_most is not None for client in scenario.clients)
    if bounded and not scenario.round_trip_s:
        raise WordsError(f"{name}: round_trips_most needs a link with a delay")


def _link(table: _Table) -> tuple[Conditions, Conditions, tuple[Rule, ...], str, bool]:
    try:
        up, down = parse_link(table.take("both", str, ""))
        up = Conditions.parse(table.take("up", str, str(up)))
        down = Conditions.parse(table.take("down", str, str(down)))
        rules = tuple(Rule.parse(text) for text in table.texts("rules"))
    except WordsError as error:
        raise WordsError(f"{table.where}: {error}") from error
    seed, mend = table.take("seed", int, 1), table.take("mend", bool, False)
    table.finish()
    return up, down, rules, str(seed), mend


def _client(table: _Table) -> ClientPlan:
    ops = [op for op in ("get", "put") if table.has(op)]
    if len(ops) != 1:
        raise WordsError(f"{table.where}: needs either get = FILE or put = FILE")
    file = table.take(ops[0], str, "")
    if not file or "/" in file or file.startswith("."):
        raise WordsError(f"{table.where}: {ops[0]} takes the plain name of a file, not {file!r}")
    size = table.maybe_integer("size", _LARGEST_FILE)
    if size is None and ops[0] == "put":
        raise WordsError(f"{table.where}: put needs the size of the file")
    plan = ClientPlan(
        op=ops[0],
        file=file,
        size_bytes=size,
        options=table.texts("options"),
        command=table.texts("command"),
        copies=table.integer("copies", 1, _MOST_COPIES, 1),
        expect=_expect(table.table("expect")),
    )
    if plan.op == "put" and plan.copies > 1:
        raise WordsError(f"{table.where}: copies of one put would write one file")
    table.finish()
    return plan


def _expect(table: _Table) -> Expect:
    expect = Expect(
        exit=table.integer("exit", 0, 255, 0),
        resends_most=table.maybe_integer("resends_most", 10**9),
        round_trips_most=table.number("round_trips_most", None),
        blocks=table.maybe_integer("blocks", 10**9),
    )
    table.finish()
    return expect


class _Table:
    """A TOML table that is read key by key; `finish` refuses what nobody has read."""

    def __init__(self, raw: Mapping[str, Any], where: str) -> None:
        self.where = where
        self._raw = dict(raw)
        self._known: list[str] = []

    def has(self, key: str) -> bool:
        """Whether the key stands in the file."""
        self._known.append(key)
        return key in self._raw

    def take(self, key: str, kind: type[_T], default: _T) -> _T:
        """The value of a key, of exactly this type."""
        self._known.append(key)
        value = self._raw.pop(key, default)
        if type(value) is not type(default) and type(value) is not kind:
            raise WordsError(f"{self.where}: {key} is {_TYPES[kind]}, not {value!r}")
        return value

    def integer(self, key: str, lowest: int, highest: int, default: int) -> int:
        """A whole number between the bounds."""
        value = self.take(key, int, default)
        if not lowest <= value <= highest:
            raise WordsError(f"{self.where}: {key} goes from {lowest} to {highest}, not {value}")
        return value

    def maybe_integer(self, key: str, highest: int) -> int | None:
        """A whole number from 0, or None where the key is missing."""
        return self.integer(key, 0, highest, 0) if self.has(key) else None

    def number(self, key: str, default: Any) -> Any:
        """A positive number, or the default where the key is missing."""
        if not self.has(key):
            return default
        value = self._raw.pop(key)
        if type(value) not in (int, float) or not 0 < value < 10**9:
            raise WordsError(f"{self.where}: {key} is a positive number, not {value!r}")
        return float(value)

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of texts."""
        values = self.take(key, list, [])
        if not all(type(value) is str for value in values):
            raise WordsError(f"{self.where}: {key} is a list of texts")
        return tuple(values)

    def table(self, key: str) -> _Table:
        """A table inside of this one; empty where the key is missing."""
        return _Table(self.take(key, dict, {}), f"{self.where}: [{key}]")

    def tables(self, key: str) -> Iterable[_Table]:
        """A list of tables."""
        for number, raw in enumerate(self.take(key, list, []), 1):
            if type(raw) is not dict:
                raise WordsError(f"{self.where}: {key} is a list of tables: [[{key}]]")
            yield _Table(raw, f"{self.where}: [[{key}]] {number}")

    def finish(self) -> None:
        """Refuses keys that nobody has read."""
        for key in self._raw:
            known = ", ".join(sorted(set(self._known)))
            raise WordsError(f"{self.where}: unknown key {key!r}{did_you_mean(key, self._known)} (known: {known})")


_TYPES: dict[type, str] = {str: "a text", int: "a whole number", bool: "true or false", list: "a list", dict: "a table"}
