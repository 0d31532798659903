"""Reading a line of words that a person typed, and saying kindly what is wrong with it.

Decided here: how a number, a percentage, a time and a rate are spelled, and how an error names the nearest right word.
Numbers are bounded ASCII decimals, so nothing here can be made slow or be surprised by other digits. Not known here:
what the words mean; `conditions` and `rules` know that.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from decimal import Decimal

from blockstep.protocol.errors import LocalError

__all__ = ["Words", "WordsError", "did_you_mean", "format_decimal", "format_time"]

_NUMBER = re.compile(r"([+-]?)([0-9]{1,15}(?:\.[0-9]{1,9})?|\.[0-9]{1,9})([^0-9.].*)?", re.ASCII | re.DOTALL)
_TIME_UNITS_NS = {
    **dict.fromkeys(("s", "sec", "secs"), 1_000_000_000),
    **dict.fromkeys(("ms", "msec", "msecs"), 1_000_000),
    **dict.fromkeys(("us", "usec", "usecs"), 1_000),
    **dict.fromkeys(("ns", "nsec", "nsecs"), 1),
}
_RATE_UNITS_BITS = {
    f"{prefix}{unit}": size * bits
    for unit, bits in (("bit", 1), ("bps", 8))
    for prefix, size in (
        *(("", 1), ("k", 10**3), ("m", 10**6), ("g", 10**9), ("t", 10**12)),
        *(("ki", 2**10), ("mi", 2**20), ("gi", 2**30), ("ti", 2**40)),
    )
}
_LONGEST_TIME_NS = 3600 * 1_000_000_000
_HIGHEST_RATE = 10**15
_SHOWN = 60


class WordsError(LocalError):
    """A word that the grammar does not have; the text says what is wrong and what was probably meant."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`"; did you mean 'delay'?"` for `dealy`, or an empty string where nothing is near."""
    candidates = {name.lower(): name for name in known}
    by_prefix = [name for name in candidates if len(word) > 1 and name.startswith(word.lower())]
    near = by_prefix or difflib.get_close_matches(word.lower(), list(candidates), n=1, cutoff=0.55)
    return f"; did you mean {candidates[near[0]]!r}?" if near else ""


def format_decimal(value: float | Decimal) -> str:
    """At most nine decimals, without exponent or trailing zeros: `5`, `0.1`."""
    text = f"{value:.9f}".rstrip("0").rstrip(".")
    return text if text not in ("-0", "") else "0"


def format_time(time_ns: int) -> str:
    """The shortest exact spelling that tc reads: `20ms`, `1.5us`, `2s`. tc 6.1 knows no `ns`."""
    for unit in ("s", "ms"):
        if time_ns and time_ns % _TIME_UNITS_NS[unit] == 0:
            return f"{time_ns // _TIME_UNITS_NS[unit]}{unit}"
    return f"{format_decimal(Decimal(time_ns) / 1000)}us"


def _shown(word: str) -> str:
    return repr(word if len(word) <= _SHOWN else word[:_SHOWN] + "...")


class Words:
    """A cursor over words. `where` starts every error, and grows as words are taken: `loss 200%: ...`."""

    def __init__(self, text: str | Sequence[str]) -> None:
        parts = [text] if isinstance(text, str) else text
        self._words = [word for part in parts for word in part.split()]
        self._next = 0
        self._start = 0

    def peek(self, ahead: int = 0) -> str | None:
        """The next word, or the one `ahead` words after it, in lower case; None behind the end."""
        place = self._next + ahead
        return self._words[place].lower() if place < len(self._words) else None

    def begin(self) -> None:
        """Errors from here on quote the words from this one."""
        self._start = self._next

    def take(self, what: str) -> str:
        """The next word in lower case; `what` names it in the error when there is none."""
        word = self.peek()
        if word is None:
            raise self.error(f"{what} is missing")
        self._next += 1
        return word

    def take_one_of(self, what: str, known: Iterable[str]) -> str:
        """The next word, which must be one of `known`."""
        known = list(known)
        word = self.take(what)
        if word not in known:
            raise self.error(f"unknown {what} {_shown(word)}{did_you_mean(word, known)} (known: {', '.join(known)})")
        return word

    def maybe_take(self, *wanted: str) -> str | None:
        """The next word if it is one of `wanted`."""
        word = self.peek()
        if word not in wanted:
            return None
        self._next += 1
        return word

    def is_number_next(self) -> bool:
        """Whether the next word starts as a number does."""
        word = self.peek()
        return word is not None and word[0] in "0123456789.+-"

    def percent(self, what: str) -> float:
        """`5%`, `0.1%` or, as tc reads it, a bare `5`; from 0 to 100."""
        value, unit = self._number(what, "5%")
        if unit not in ("", "%"):
            raise self.error(f"{what} is a percentage; did you mean '{format_decimal(value)}%'?")
        if not 0 <= value <= 100:
            nearest = "100%" if value > 100 else "0%"
            raise self.error(f"{what} goes from 0% to 100%; the nearest is '{nearest}'")
        return float(value)

    def time_ns(self, what: str) -> int:
        """`20ms`, `1.5s`, `100us`: integer nanoseconds, at most one hour. A bare number has no unit and is refused."""
        value, unit = self._number(what, "20ms")
        if not unit and value:
            raise self.error(f"{what} has no unit; did you mean '{format_decimal(value)}ms'?")
        if unit and unit not in _TIME_UNITS_NS:
            raise self.error(f"{what} has an unknown unit {_shown(unit)}{_respelled(value, unit, ('s', 'ms', 'us'))}")
        time_ns = int(value * _TIME_UNITS_NS.get(unit, 1))
        if not 0 <= time_ns <= _LONGEST_TIME_NS:
            raise self.error(f"{what} goes from 0s to {format_time(_LONGEST_TIME_NS)}")
        return time_ns

    def rate(self, what: str) -> int:
        """`10mbit`, `1.5gbit`, `800kbps`: bits per second, in tc's units, where `bps` is *bytes* per second."""
        value, unit = self._number(what, "10mbit")
        if unit and unit not in _RATE_UNITS_BITS:
            raise self.error(f"{what} has an unknown unit {_shown(unit)}{_respelled(value, unit, _RATE_UNITS_BITS)}")
        bits = int(value * _RATE_UNITS_BITS.get(unit, 1))
        if not 0 < bits <= _HIGHEST_RATE:
            raise self.error(f"{what} goes from 1bit to {_HIGHEST_RATE // 10**12}tbit")
        return bits

    def integer(self, what: str, lowest: int, highest: int) -> int:
        """A whole number between the bounds."""
        value, unit = self._number(what, str(max(lowest, 1)))
        if unit or value != int(value):
            raise self.error(f"{what} is a whole number, such as {max(lowest, 1)}")
        if not lowest <= value <= highest:
            nearest = lowest if value < lowest else highest
            raise self.error(f"{what} goes from {lowest} to {highest}; the nearest is {nearest}")
        return int(value)

    def error(self, message: str) -> WordsError:
        """An error that quotes the words read since `begin`."""
        quoted = " ".join(self._words[self._start : max(self._next, self._start + 1)])
        return WordsError(f"{quoted[:_SHOWN]}: {message}" if quoted else message)

    def unknown(self, what: str, known: Iterable[str]) -> WordsError:
        """The error for the next word, which none of `known` is."""
        known = list(known)
        word = self._words[self._next]
        return WordsError(f"unknown {what} {_shown(word)}{did_you_mean(word, known)} (known: {', '.join(known)})")

    def _number(self, what: str, example: str) -> tuple[Decimal, str]:
        word = self.take(what)
        match = _NUMBER.fullmatch(word)
        if match is None:
            raise self.error(f"{what} must be a number, such as '{example}', not {_shown(word)}")
        return Decimal(match[1] + match[2]), match[3] or ""


def _respelled(value: Decimal, unit: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(unit, list(known), n=1, cutoff=0.3)
    return f"; did you mean '{format_decimal(value)}{near[0]}'?" if near else ""
