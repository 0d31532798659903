"""What a bad link does to packets, said in tc-netem's words.

Decided here: the grammar of tc-netem(8) with its defaults, read by `Conditions.parse` and printed back by `str()` and
`tc_line()`, so that a link can be described in a report, typed again, and set up elsewhere with real netem. Not known
here: how the decisions are drawn; that is `impairment`.

Three words of tc are read with more care than tc gives them: a time without a unit is refused (versions of tc disagree
about it), a word given twice is refused (tc silently keeps the last), and `slot`, `ecn` and `distribution FILE` are
refused because nothing here could keep the promise.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from blockstep.protocol.errors import LocalError
from blockstep_lab.words import Words, WordsError, format_decimal, format_time

__all__ = [
    "DISTRIBUTIONS",
    "Chance",
    "Conditions",
    "Delay",
    "GilbertElliott",
    "Loss",
    "MarkovLoss",
    "RandomLoss",
    "Rate",
    "Reorder",
]

DISTRIBUTIONS = ("uniform", "normal", "pareto", "paretonormal")
_DEFAULT_LIMIT = 1000
_LARGEST = 1_000_000_000
# Sums of percentages such as 33.3 + 66.7 may miss 100 by a rounding error.
_WHOLE = 100 + 1e-9


def _percent(value: float) -> str:
    return f"{format_decimal(value)}%"


def _require_percents(*values: float) -> None:
    if not all(0 <= value <= _WHOLE for value in values):
        raise LocalError(f"percentages go from 0 to 100, not {values}")


@dataclass(frozen=True, slots=True)
class Chance:
    """Something that happens to a share of the packets; both fields are percentages.

    `correlation` is the chance that a decision repeats the one before it.
    """

    percent: float
    correlation: float = 0.0

    def __post_init__(self) -> None:
        _require_percents(self.percent, self.correlation)

    def __str__(self) -> str:
        return _percent(self.percent) + (f" {_percent(self.correlation)}" if self.correlation else "")


@dataclass(frozen=True, slots=True)
class RandomLoss(Chance):
    """Each packet is lost with the same chance."""


@dataclass(frozen=True, slots=True)
class GilbertElliott:
    """Two states, good and bad, each with its own loss; all fields are percentages, named as netem names them.

    `p` good to bad, `r` bad to good, `bad_loss` is netem's 1-h, `good_loss` its 1-k.
    """

    p: float
    r: float
    bad_loss: float = 100.0
    good_loss: float = 0.0

    def __post_init__(self) -> None:
        _require_percents(self.p, self.r, self.bad_loss, self.good_loss)

    def __str__(self) -> str:
        return "gemodel " + " ".join(map(_percent, (self.p, self.r, self.bad_loss, self.good_loss)))


@dataclass(frozen=True, slots=True)
class MarkovLoss:
    """Four states: 1 good, 2 good within a burst, 3 lost within a burst, 4 lost alone; percentages (Salsano et al.)."""

    p13: float
    p31: float
    p32: float = 0.0
    p23: float = 100.0
    p14: float = 0.0

    def __post_init__(self) -> None:
        _require_percents(self.p13, self.p31, self.p32, self.p23, self.p14, self.p13 + self.p14, self.p31 + self.p32)

    def __str__(self) -> str:
        return "state " + " ".join(map(_percent, (self.p13, self.p31, self.p32, self.p23, self.p14)))


Loss = RandomLoss | GilbertElliott | MarkovLoss


@dataclass(frozen=True, slots=True)
class Delay:
    """A delay and its jitter in integer nanoseconds; `correlation` is a percentage."""

    delay_ns: int
    jitter_ns: int = 0
    correlation: float = 0.0
    distribution: str = "uniform"

    def __post_init__(self) -> None:
        _require_percents(self.correlation)
        if self.distribution not in DISTRIBUTIONS or self.delay_ns < 0 or self.jitter_ns < 0:
            raise LocalError(f"impossible delay {self.delay_ns} ns {self.jitter_ns} ns {self.distribution!r}")

    def __str__(self) -> str:
        text = format_time(self.delay_ns)
        if self.jitter_ns or self.correlation:
            text += f" {format_time(self.jitter_ns)}"
        if self.correlation:
            text += f" {_percent(self.correlation)}"
        # tc's default is uniform, and it ships no table of that name: printing the word would make its line fail.
        return text if self.distribution == "uniform" else f"{text} distribution {self.distribution}"


@dataclass(frozen=True, slots=True)
class Reorder(Chance):
    """A share of the packets skips the delay; at least `gap` - 1 packets lie between two of them."""

    gap: int = 1

    def __str__(self) -> str:
        return Chance.__str__(self) + (f" gap {self.gap}" if self.gap > 1 else "")


@dataclass(frozen=True, slots=True)
class Rate:
    """A bottleneck; sizes in bytes. `cell_bytes` 0 means no cells (48 with an overhead of 5 is ATM)."""

    bits_per_s: int
    packet_overhead: int = 0
    cell_bytes: int = 0
    cell_overhead: int = 0

    def __post_init__(self) -> None:
        if self.bits_per_s <= 0 or self.cell_bytes < 0:
            raise LocalError(f"impossible rate {self.bits_per_s} bit/s with cells of {self.cell_bytes} bytes")

    def wire_bytes(self, size_bytes: int) -> int:
        """The bytes that a packet takes on this link, headers and cells included."""
        size_bytes += self.packet_overhead
        if self.cell_bytes:
            cells = -(-size_bytes // self.cell_bytes)
            size_bytes = cells * (self.cell_bytes + self.cell_overhead)
        return max(size_bytes, 0)

    def __str__(self) -> str:
        extras = [self.packet_overhead, self.cell_bytes, self.cell_overhead]
        while extras and extras[-1] == 0:
            extras.pop()
        return " ".join([_format_rate(self.bits_per_s), *map(str, extras)])


def _format_rate(bits_per_s: int) -> str:
    for size, unit in ((10**9, "gbit"), (10**6, "mbit"), (10**3, "kbit")):
        if bits_per_s % size == 0:
            return f"{bits_per_s // size}{unit}"
    return f"{bits_per_s}bit"


@dataclass(frozen=True, slots=True)
class Conditions:
    """One direction of a link. `Conditions()` is a perfect link.

    `limit` is how many packets the bottleneck's queue holds; None is netem's default of 1000. Without a rate there is
    no queue and the limit has no effect (netem also counts packets that are merely being delayed; this does not, so a
    long fast link does not drop for a reason that no real link has).
    """

    delay: Delay | None = None
    loss: Loss | None = None
    duplicate: Chance | None = None
    corrupt: Chance | None = None
    reorder: Reorder | None = None
    rate: Rate | None = None
    limit: int | None = None

    def __post_init__(self) -> None:
        if self.reorder is not None and (self.delay is None or not self.delay.delay_ns):
            raise WordsError("reorder: a packet can only overtake delayed ones; add a delay, such as 'delay 10ms'")
        if self.limit is not None and self.limit < 1:
            raise LocalError(f"limit must be at least 1, not {self.limit}")

    @classmethod
    def parse(cls, text: str | Sequence[str]) -> Conditions:
        """Reads netem's words, `"loss 5% 25% delay 20ms 5ms"`, as one text or as a sequence.

        Raises `WordsError`, which says what is wrong and names the nearest right word.
        """
        words = Words(text)
        draft = _Draft()
        while (word := words.peek()) is not None:
            words.begin()
            word = _ALIASES.get(word, word)
            if word not in _READERS:
                raise _unreadable(words, word)
            words.take("word")
            if word in draft.fields:
                raise words.error(f"{word} is given twice")
            draft.fields[word] = _READERS[word](words)
        return draft.finish()

    @classmethod
    def of(cls, conditions: Conditions | str) -> Conditions:
        """Conditions as they are, or netem's words parsed."""
        return cls.parse(conditions) if isinstance(conditions, str) else conditions

    @property
    def queue_limit(self) -> int:
        """How many packets the bottleneck's queue holds."""
        return _DEFAULT_LIMIT if self.limit is None else self.limit

    def __str__(self) -> str:
        named = ((name, getattr(self, name)) for name in _PRINTED)
        return " ".join(f"{name} {value}" for name, value in named if value is not None)

    def tc_line(self, device: str = "DEV") -> str:
        """The command that gives `device` these conditions in a kernel that has netem."""
        return f"tc qdisc replace dev {device} root netem {self}".rstrip()


_PRINTED = ("limit", "delay", "loss", "duplicate", "corrupt", "reorder", "rate")


@dataclass(slots=True)
class _Draft:
    """The words read so far; `distribution` and `gap` stand alone in tc's grammar and belong to other words."""

    fields: dict[str, Any] = field(default_factory=dict)

    def finish(self) -> Conditions:
        self._join_distribution()
        self._join_gap()
        return Conditions(**self.fields)

    def _join_distribution(self) -> None:
        name = self.fields.pop("distribution", None)
        if name is None:
            return
        delay: Delay | None = self.fields.get("delay")
        if delay is None or not delay.jitter_ns:
            raise WordsError(f"distribution {name}: needs a delay with jitter; did you mean 'delay 20ms 5ms'?")
        self.fields["delay"] = Delay(delay.delay_ns, delay.jitter_ns, delay.correlation, name)

    def _join_gap(self) -> None:
        gap = self.fields.pop("gap", None)
        if gap is not None:
            reorder = self.fields.get("reorder", Reorder(100.0))
            self.fields["reorder"] = Reorder(reorder.percent, reorder.correlation, gap)


def _read_chance(words: Words, what: str) -> tuple[float, float]:
    percent = words.percent(what)
    return percent, words.percent("the correlation") if words.is_number_next() else 0.0


def _read_percents(words: Words, names: Sequence[str]) -> list[float]:
    values = [words.percent(names[0])]
    while len(values) < len(names) and words.is_number_next():
        values.append(words.percent(names[len(values)]))
    return values


def _read_loss(words: Words) -> Loss:
    model = words.maybe_take("random", "gemodel", "state")
    if model is None and not words.is_number_next() and words.peek() is not None:
        words.take_one_of("loss model", ("random", "gemodel", "state"))
    if model == "gemodel":
        values = _read_percents(words, ("p", "r", "1-h", "1-k"))
        return GilbertElliott(*values) if len(values) > 1 else GilbertElliott(values[0], _rest(values[0]))
    if model == "state":
        return _read_state(words)
    return RandomLoss(*_read_chance(words, "the loss"))


def _rest(percent: float) -> float:
    return round(100.0 - percent, 9)


def _read_state(words: Words) -> MarkovLoss:
    values = _read_percents(words, ("p13", "p31", "p32", "p23", "p14"))
    values += (_rest(values[0]), 0.0, 100.0, 0.0)[len(values) - 1 :]
    p13, p31, p32, _, p14 = values
    if p13 + p14 > _WHOLE or p31 + p32 > _WHOLE:
        raise words.error("the chances to leave one state (p13 + p14, p31 + p32) may not add up to more than 100%")
    return MarkovLoss(*values)


def _read_delay(words: Words) -> Delay:
    delay_ns = words.time_ns("the delay")
    jitter_ns = words.time_ns("the jitter") if words.is_number_next() else 0
    return Delay(delay_ns, jitter_ns, words.percent("the correlation") if words.is_number_next() else 0.0)


def _read_rate(words: Words) -> Rate:
    bits_per_s = words.rate("the rate")
    bounds = (("the packet overhead", -_LARGEST), ("the cell size", 0), ("the cell overhead", -_LARGEST))
    extras: list[int] = []
    while len(extras) < len(bounds) and words.is_number_next():
        what, lowest = bounds[len(extras)]
        extras.append(words.integer(what, lowest, _LARGEST))
    return Rate(bits_per_s, *extras)


_READERS: dict[str, Callable[[Words], Any]] = {
    "limit": lambda words: words.integer("the limit", 1, _LARGEST),
    "delay": _read_delay,
    "distribution": lambda words: words.take_one_of("distribution", DISTRIBUTIONS),
    "loss": _read_loss,
    "duplicate": lambda words: Chance(*_read_chance(words, "the share of duplicates")),
    "corrupt": lambda words: Chance(*_read_chance(words, "the share of corrupt packets")),
    "reorder": lambda words: Reorder(*_read_chance(words, "the share of reordered packets")),
    "gap": lambda words: words.integer("the gap", 1, _LARGEST),
    "rate": _read_rate,
}
_ALIASES = {"latency": "delay", "drop": "loss"}
_NOT_MODELLED = {
    "slot": "slotted delivery is not modelled; 'rate' with 'limit' comes nearest",
    "ecn": "packets are dropped, never marked",
}


def _unreadable(words: Words, word: str) -> WordsError:
    if word in _NOT_MODELLED:
        return words.error(_NOT_MODELLED[word])
    if words.is_number_next():
        return words.error("a number that belongs to no word")
    return words.unknown("word", _READERS)
