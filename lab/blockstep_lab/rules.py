"""Orders that name TFTP packets: `drop DATA 3 once`, `delay ERROR 2s`, `corrupt DATA 7`.

Decided here: the grammar of a rule, which packets it means, and how often it acts. Rules stand above the random link:
they see every packet before the link decides, and act on whatever the link lets through, so a rule never shifts the
fate of another packet. Not known here: sockets and time.

    [up|down] drop|duplicate|corrupt|delay PACKET [BLOCKS] [TIME] [once | N times | first [N]]

PACKET is RRQ, WRQ, DATA, ACK, ERROR, OACK or ANY. BLOCKS (`3`, `10-12`, `100-`, `3,5,8-9`) counts from the start of
the transfer and on past 65,535. Without a limit a rule acts on every matching packet, resends included; `once` and
`N times` count each block by itself, `first` counts all matching packets of a transfer. Each transfer starts afresh.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field

from blockstep.protocol.errors import RemoteError
from blockstep.protocol.numbers import Numbering
from blockstep.protocol.wire import Opcode, OptionAck, parse_untrusted
from blockstep_lab.impairment import Counters, Delivery, flip_bit
from blockstep_lab.words import Words, format_time

__all__ = ["DIRECTIONS", "FlowRules", "Rule", "RuleBook", "apply_rules"]

DIRECTIONS = ("up", "down")
_ACTIONS = ("drop", "duplicate", "delay", "corrupt")
_PACKETS = {**{opcode.name.lower(): opcode for opcode in Opcode}, "any": None}
_NUMBERED = (Opcode.DATA, Opcode.ACK)
_BLOCKS = re.compile(r"[0-9]{1,12}(?:-[0-9]{0,12})?(?:,[0-9]{1,12}(?:-[0-9]{0,12})?)*", re.ASCII)
_ENDLESS = 10**12
_MOST_TIMES = 1_000_000
# Blocks whose count is remembered in one transfer; the oldest are forgotten.
_MOST_REMEMBERED = 65_536

Blocks = tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Rule:
    """One order. `packet` None means any; `blocks` are inclusive ranges, empty for all.

    `times` limits how often it acts in one transfer, on each block (`each_block`) or altogether; None is no limit.
    """

    action: str
    packet: Opcode | None
    blocks: Blocks = ()
    delay_ns: int = 0
    times: int | None = None
    each_block: bool = True
    direction: str | None = None

    @classmethod
    def parse(cls, text: str | Sequence[str]) -> Rule:
        """Reads one rule; `WordsError` says what is wrong and names the nearest right word."""
        words = Words(text)
        words.begin()
        direction = words.maybe_take(*DIRECTIONS)
        action = words.take_one_of("action", _ACTIONS)
        packet = _PACKETS[words.take_one_of("packet", _PACKETS)]
        blocks = _read_blocks(words, packet)
        delay_ns = words.time_ns("the delay") if action == "delay" else 0
        times, each_block = _read_limit(words)
        if words.peek() is not None:
            raise words.unknown("word", ("once", "times", "first"))
        return cls(action, packet, blocks, delay_ns, times, each_block, direction)

    @classmethod
    def of(cls, rule: Rule | str) -> Rule:
        """A rule as it is, or its text parsed."""
        return cls.parse(rule) if isinstance(rule, str) else rule

    def __str__(self) -> str:
        parts = [self.direction or "", self.action, "ANY" if self.packet is None else self.packet.name]
        parts.append(",".join(_format_range(first, last) for first, last in self.blocks))
        parts.append(format_time(self.delay_ns) if self.action == "delay" else "")
        return " ".join(filter(None, [*parts, self._format_limit()]))

    def covers(self, direction: str, opcode: int, number: int) -> bool:
        """Whether the rule means this packet; `number` is its block index, or -1 for a packet without."""
        if self.direction not in (None, direction) or self.packet not in (None, opcode):
            return False
        return not self.blocks or any(first <= number <= last for first, last in self.blocks)

    def _format_limit(self) -> str:
        if self.times is None:
            return ""
        if self.each_block:
            return "once" if self.times == 1 else f"{self.times} times"
        return "first" if self.times == 1 else f"first {self.times}"


def _format_range(first: int, last: int) -> str:
    if first == last:
        return str(first)
    return f"{first}-" if last == _ENDLESS else f"{first}-{last}"


def _read_blocks(words: Words, packet: Opcode | None) -> Blocks:
    word = words.peek()
    if word is None or not _BLOCKS.fullmatch(word) or words.peek(1) in ("times", "time"):
        return ()
    words.take("blocks")
    if packet not in _NUMBERED:
        raise words.error("only DATA and ACK have block numbers")
    return tuple(_read_range(words, part) for part in word.split(","))


def _read_range(words: Words, part: str) -> tuple[int, int]:
    first, dash, last = part.partition("-")
    pair = int(first), int(last) if last else (_ENDLESS if dash else int(first))
    if pair[0] > pair[1]:
        raise words.error(f"the range runs backwards; did you mean '{last}-{first}'?")
    return pair


def _read_limit(words: Words) -> tuple[int | None, bool]:
    if words.maybe_take("once"):
        return 1, True
    if words.maybe_take("first"):
        return (words.integer("the number of packets", 1, _MOST_TIMES) if words.is_number_next() else 1), False
    if not words.is_number_next():
        return None, True
    times = words.integer("the number of times", 1, _MOST_TIMES)
    if not words.maybe_take("times", "time"):
        raise words.error("a number that belongs to no word; did you mean 'times' after it?")
    return times, True


class RuleBook:
    """The rules of a link and how often each has acted, over all transfers."""

    def __init__(self, rules: Sequence[Rule | str] = ()) -> None:
        self.rules = tuple(Rule.of(rule) for rule in rules)
        self.hits = [0] * len(self.rules)

    def start_flow(self) -> FlowRules:
        """The rules as they apply to one transfer."""
        return FlowRules(self)

    def report(self) -> list[tuple[str, int]]:
        """Each rule as text with the number of packets it acted on."""
        return [(str(rule), hits) for rule, hits in zip(self.rules, self.hits, strict=True)]


@dataclass(slots=True)
class FlowRules:
    """One client's transfers, one after the other: which block each packet is, and what has been done already."""

    book: RuleBook
    _acted: OrderedDict[tuple[int, int], int] = field(default_factory=OrderedDict)
    _numbering: Numbering = field(default_factory=Numbering)
    _latest: int = 0
    _answered: bool = False

    def change_book(self, book: RuleBook) -> None:
        """Goes on with other rules; block numbers keep counting, and what the old rules did is forgotten."""
        self.book = book
        self._acted.clear()

    def actions_for(self, direction: str, packet: bytes) -> list[Rule]:
        """The rules that act on this packet now; each packet must be shown once, in the order of arrival."""
        opcode = packet[1] if len(packet) > 1 and packet[0] == 0 else -1
        number = self._follow(direction, opcode, packet)
        return [
            rule
            for place, rule in enumerate(self.book.rules)
            if rule.covers(direction, opcode, number) and self._spend(place, rule, number)
        ]

    def _follow(self, direction: str, opcode: int, packet: bytes) -> int:
        if opcode in (Opcode.RRQ, Opcode.WRQ):
            self._handle_request()
        elif opcode == Opcode.OACK:
            self._handle_oack(packet)
        if opcode not in _NUMBERED or len(packet) < 4:
            return -1
        self._answered = self._answered or direction == "up"
        index = self._numbering.nearest(packet[2] << 8 | packet[3], self._latest)
        self._latest = max(self._latest, index)
        return index

    def _handle_request(self) -> None:
        # A client that never answered repeats its request; one that did has begun another transfer from the same port.
        if self._answered:
            self._acted.clear()
            self._numbering = Numbering()
            self._latest, self._answered = 0, False

    def _handle_oack(self, packet: bytes) -> None:
        try:
            parsed = parse_untrusted(packet)
        except RemoteError:
            return
        if isinstance(parsed, OptionAck) and dict(parsed.options).get("rollover") == "1":
            self._numbering = Numbering(rollover=1)

    def _spend(self, place: int, rule: Rule, number: int) -> bool:
        if rule.times is not None:
            key = place, number if rule.each_block else -1
            acted = self._acted.get(key, 0)
            if acted >= rule.times:
                return False
            self._acted[key] = acted + 1
            if len(self._acted) > _MOST_REMEMBERED:
                self._acted.popitem(last=False)
        self.book.hits[place] += 1
        return True


def apply_rules(rules: Sequence[Rule], deliveries: list[Delivery], counters: Counters) -> list[Delivery]:
    """What is left of the deliveries of one packet after the rules, in their order; `counters` are kept true."""
    for rule in rules:
        copies = len(deliveries)
        if rule.action == "drop":
            counters.lost += copies
            counters.delivered -= copies
            return []
        if rule.action == "duplicate":
            counters.duplicated += copies
            counters.delivered += copies
            deliveries = [*deliveries, *deliveries]
        elif rule.action == "delay":
            deliveries = [(at + rule.delay_ns / 1e9, packet) for at, packet in deliveries]
        else:
            counters.corrupted += copies
            deliveries = [(at, _corrupted(packet)) for at, packet in deliveries]
    return deliveries


def _corrupted(packet: bytes) -> bytes:
    """One bit changed in the middle of what follows the block number, or of a packet that ends there."""
    start = 4 if len(packet) > 4 else 0
    return flip_bit(packet, (start + len(packet)) // 2 * 8 + 7)
