"""Option negotiation, both sides (RFC 2347), as pure functions from what was asked to what holds.

Rules of this file:

* The server's OACK holds only options that were asked for, in the order in which they were asked. An option that is not
  in it holds for nobody: both sides go on as if it had never been asked (RFC 2347), so `Agreed` then has the default.
* A number is 1 to 19 ASCII digits (`decimal_untrusted`): Python's own conversions also take `5_12`, `+8`, spaces and
  Arabic digits. A known option whose value is no such number gets ERROR 8, because guessing could cost the file.
* A good number out of range is lowered where the RFC lets the server answer with less (blksize, windowsize), left out
  where the answer must repeat what was asked (timeout), and gets ERROR 8 where no legal answer exists (blksize under 8,
  windowsize 0).
* Unknown options are ignored, `multicast` (RFC 2090) among them.

The server's table, by option:

    blksize     RFC 2348      8-65464 (a stream has a higher ceiling); over the limit: the limit; under 8: ERROR 8
    blksize2    tftp-hpa      the largest power of two within both what is asked and the limit; under 8: ERROR 8
    timeout     RFC 2349      1-255 s, repeated as asked; otherwise left out
    utimeout    tftp-hpa      10,000-255,000,000 us, repeated as asked; otherwise left out
    tsize       RFC 2349      read: the size if it is known and not 0; write: as asked, if not 0 and in octet mode
    windowsize  RFC 7440      1-65535 (65534 with rollover 1); over the limit: the limit; 0 or over 65535: ERROR 8
    rollover    tftp-hpa      0 or 1: the wire number that follows 65535; otherwise left out

blksize and blksize2 are one matter, as are timeout and utimeout: of two, the first that can be granted is, and the
other is left out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from blockstep.protocol.errors import ErrorCode, LocalError, RemoteError
from blockstep.protocol.wire import Opcode, OptionAck, Options, Request

__all__ = [
    "BLKSIZE_DEFAULT",
    "BLKSIZE_LARGEST",
    "BLKSIZE_SMALLEST",
    "KNOWN_OPTIONS",
    "NUMBER_LARGEST",
    "TIMEOUT_LARGEST_S",
    "WINDOWSIZE_LARGEST",
    "Agreed",
    "Limits",
    "Wanted",
    "accept",
    "decimal_untrusted",
    "negotiate",
]

BLKSIZE_DEFAULT = 512
BLKSIZE_SMALLEST = 8
BLKSIZE_LARGEST = 65464
WINDOWSIZE_LARGEST = 65535
TIMEOUT_LARGEST_S = 255
UTIMEOUT_SMALLEST_US = 10_000
UTIMEOUT_LARGEST_US = 255_000_000
NUMBER_LARGEST = 2**63 - 1

KNOWN_OPTIONS = frozenset({"blksize", "blksize2", "timeout", "utimeout", "tsize", "windowsize", "rollover"})

# Two names for one thing: whichever is granted first keeps the other out.
_TWIN = {"blksize": "blksize2", "blksize2": "blksize", "timeout": "utimeout", "utimeout": "timeout"}
_DIGITS = re.compile("[0-9]{1,19}")


@dataclass(frozen=True, slots=True)
class Limits:
    """What a server grants at most. LocalError for a limit that allows no legal answer or an unknown name in `refuse`.

    `blksize_max` in octets, 8 to `blksize_ceiling`. `windowsize_max` in blocks, 1-65535. `in_flight_max_bytes` caps
    windowsize times blksize, but a single block is always granted. `timeout_max_s`: longer timeouts are left out of the
    OACK. `refuse`: names of options (lower-case) to treat as unknown. `blksize_ceiling` is the largest block that the
    transport knows: 65464 in a datagram (RFC 2348), more on a stream.
    """

    blksize_max: int = BLKSIZE_LARGEST
    windowsize_max: int = 64
    in_flight_max_bytes: int = 8 * 1024 * 1024
    timeout_max_s: int = TIMEOUT_LARGEST_S
    refuse: frozenset[str] = frozenset()
    blksize_ceiling: int = BLKSIZE_LARGEST

    def __post_init__(self) -> None:
        _check_range("blksize_max", self.blksize_max, BLKSIZE_SMALLEST, self.blksize_ceiling)
        _check_range("windowsize_max", self.windowsize_max, 1, WINDOWSIZE_LARGEST)
        _check_range("in_flight_max_bytes", self.in_flight_max_bytes, 1, NUMBER_LARGEST)
        _check_range("timeout_max_s", self.timeout_max_s, 1, TIMEOUT_LARGEST_S)
        if unknown := self.refuse - KNOWN_OPTIONS:
            raise LocalError(f"unknown option to refuse: {', '.join(sorted(unknown))}")


@dataclass(frozen=True, slots=True)
class Agreed:
    """What both sides now hold. Without any option: lock-step with blocks of 512 octets (RFC 1350).

    `timeout_s` and `tsize` (octets) are None when they were not agreed. `rollover` is the wire number after 65535.
    """

    blksize: int = BLKSIZE_DEFAULT
    windowsize: int = 1
    timeout_s: float | None = None
    tsize: int | None = None
    rollover: int = 0


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a client asks for; None means that the option is not asked. LocalError for a value that no RFC allows.

    `timeout_s`: whole seconds are asked as `timeout` (RFC 2349), anything else as `utimeout` (tftp-hpa), 0.01-255.
    `tsize`: 0 asks a server for the size of its file, for a write it is the size that will be sent (RFC 2349).
    `blksize_ceiling`: as in `Limits`.
    """

    blksize: int | None = None
    windowsize: int | None = None
    timeout_s: float | None = None
    tsize: int | None = None
    rollover: int | None = None
    blksize_ceiling: int = BLKSIZE_LARGEST

    def __post_init__(self) -> None:
        _check_range("blksize", self.blksize, BLKSIZE_SMALLEST, self.blksize_ceiling)
        _check_range("windowsize", self.windowsize, 1, WINDOWSIZE_LARGEST)
        _check_range("timeout_s", self.timeout_s, UTIMEOUT_SMALLEST_US / 1_000_000, TIMEOUT_LARGEST_S)
        _check_range("tsize", self.tsize, 0, NUMBER_LARGEST)
        _check_range("rollover", self.rollover, 0, 1)

    def to_options(self) -> Options:
        """The options of the request, in a fixed order."""
        asked: list[tuple[str, int | None]] = [
            ("tsize", self.tsize),
            ("blksize", self.blksize),
            ("windowsize", self.windowsize),
            self._timeout_option(),
            ("rollover", self.rollover),
        ]
        return tuple((name, str(int(value))) for name, value in asked if value is not None)

    def _timeout_option(self) -> tuple[str, int | None]:
        if self.timeout_s is None or self.timeout_s == int(self.timeout_s):
            return "timeout", None if self.timeout_s is None else int(self.timeout_s)
        return "utimeout", round(self.timeout_s * 1_000_000)


def decimal_untrusted(text: str, largest: int = NUMBER_LARGEST) -> int | None:
    """The number in `text` if that is 1 to 19 ASCII digits and at most `largest`, else None. Never raises."""
    if not _DIGITS.fullmatch(text):
        return None
    number = int(text)
    return number if number <= largest else None


def negotiate(request: Request, limits: Limits, size_bytes: int | None) -> tuple[Agreed, OptionAck | None]:
    """The server's answer to the options of a request, by the table above (RFC 2347, 2348, 2349, 7440).

    `size_bytes`: for a read, how many octets will be sent, or None if unknown (so in netascii, unless it was counted);
    not used for a write. No OACK (None) means: answer with DATA 1 or ACK 0 as RFC 1350 does. `tsize=0` is never in the
    OACK, because curl refuses it and could then not fetch an empty file. Raises RemoteError(OPTION_REFUSED).
    """
    asked = _asked_numbers(request, limits)
    granted: dict[str, int] = {}
    for name, rule in _RULES.items():
        if name in asked and (grant := rule(asked[name], limits)) is not None:
            granted[name] = grant
    _drop_later_twins(asked, granted)
    if tsize := _tsize(request, asked, size_bytes):
        granted["tsize"] = tsize
    if "windowsize" in granted:
        fitting = limits.in_flight_max_bytes // _agreed(granted).blksize
        # With 65,535 numbers a window of 65,535 could not tell "all of it" from "nothing" (RFC 7440 section 4).
        distinct = WINDOWSIZE_LARGEST - granted.get("rollover", 0)
        granted["windowsize"] = max(1, min(granted["windowsize"], fitting, distinct))
    answer = tuple((name, str(granted[name])) for name in asked if name in granted)
    return _agreed(granted), OptionAck(answer) if answer else None


def accept(wanted: Wanted, oack: OptionAck) -> Agreed:
    """The client's reading of an OACK (RFC 2347): what holds from now on.

    What the OACK leaves out falls back to RFC 1350. Raises RemoteError(OPTION_REFUSED) for an option that was not asked
    for, a value that is no number, and a value beyond what was asked: a larger blksize or windowsize (or one under 8 or
    1), another timeout or rollover, and for a write another tsize. For a read any tsize is taken; in netascii it is
    only a hint, because servers disagree on which form of the text it counts.
    """
    asked = {name: int(value) for name, value in wanted.to_options()}
    granted: dict[str, int] = {}
    for name, text in oack.options:
        if name not in asked or name in granted:
            raise _refused("the OACK has an option that was not asked for")
        granted[name] = _number_untrusted(name, text)
        if not _may_grant(name, asked[name], granted[name]):
            raise _refused(f"the OACK grants another {name} than was asked for")
    return _agreed(granted)


def _may_grant(name: str, asked: int, granted: int) -> bool:
    if name == "blksize":
        return BLKSIZE_SMALLEST <= granted <= asked
    if name == "windowsize":
        return 1 <= granted <= asked
    if name == "tsize" and asked == 0:
        return True
    return granted == asked


def _asked_numbers(request: Request, limits: Limits) -> dict[str, int]:
    return {
        name: _number_untrusted(name, text)
        for name, text in request.options
        if name in KNOWN_OPTIONS and name not in limits.refuse
    }


def _number_untrusted(name: str, text: str) -> int:
    number = decimal_untrusted(text)
    if number is None:
        raise _refused(f"{name} is not a decimal number")
    return number


def _drop_later_twins(asked: Mapping[str, int], granted: dict[str, int]) -> None:
    for name in asked:
        if name in granted and name in _TWIN:
            granted.pop(_TWIN[name], None)


def _tsize(request: Request, asked: Mapping[str, int], size_bytes: int | None) -> int | None:
    """The tsize to answer with, None or 0 for none. A netascii write has none: what it counts is not defined."""
    if "tsize" not in asked:
        return None
    if request.opcode == Opcode.RRQ:
        return size_bytes
    return asked["tsize"] if request.mode == "octet" else None


def _agreed(granted: Mapping[str, int]) -> Agreed:
    timeout_us = granted.get("utimeout", granted.get("timeout", 0) * 1_000_000)
    return Agreed(
        blksize=granted.get("blksize", granted.get("blksize2", BLKSIZE_DEFAULT)),
        windowsize=granted.get("windowsize", 1),
        timeout_s=timeout_us / 1_000_000 if timeout_us else None,
        tsize=granted.get("tsize"),
        rollover=granted.get("rollover", 0),
    )


def _grant_blksize(asked: int, limits: Limits) -> int:
    if asked < BLKSIZE_SMALLEST:
        raise _refused(f"blksize must be {BLKSIZE_SMALLEST} to {limits.blksize_ceiling}")
    return min(asked, limits.blksize_max)


def _grant_blksize2(asked: int, limits: Limits) -> int:
    return 1 << (_grant_blksize(asked, limits).bit_length() - 1)


def _grant_timeout(asked: int, limits: Limits) -> int | None:
    return asked if 1 <= asked <= limits.timeout_max_s else None


def _grant_utimeout(asked: int, limits: Limits) -> int | None:
    return asked if UTIMEOUT_SMALLEST_US <= asked <= limits.timeout_max_s * 1_000_000 else None


def _grant_windowsize(asked: int, limits: Limits) -> int:
    if not 1 <= asked <= WINDOWSIZE_LARGEST:
        raise _refused("windowsize must be 1 to 65535")
    return min(asked, limits.windowsize_max)


def _grant_rollover(asked: int, _limits: Limits) -> int | None:
    return asked if asked in (0, 1) else None


_RULES: dict[str, Callable[[int, Limits], int | None]] = {
    "blksize": _grant_blksize,
    "blksize2": _grant_blksize2,
    "timeout": _grant_timeout,
    "utimeout": _grant_utimeout,
    "windowsize": _grant_windowsize,
    "rollover": _grant_rollover,
}


def _refused(text: str) -> RemoteError:
    return RemoteError(ErrorCode.OPTION_REFUSED, text)


def _check_range(name: str, value: float | None, smallest: float, largest: float) -> None:
    if value is not None and not smallest <= value <= largest:
        raise LocalError(f"{name} must be {smallest:g} to {largest:g}, not {value}")
