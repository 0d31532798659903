"""The click parameter types of the client: text from a command line, a variable or a file becomes a checked value.

Numbers are ASCII digits, bounded in length before they are converted: `int()` alone would take `1_428`, full-width and
Arabic digits, and raise ValueError on 4300 nines.
"""

from __future__ import annotations

import re
from typing import Final, Literal

import click

from blockstep.protocol.framing import PAYLOAD_LARGEST
from blockstep.protocol.options import BLKSIZE_SMALLEST
from blockstep_client.address import AddressError, Target, parse_target

__all__ = ["BlksizeType", "NumberType", "SecondsType", "TargetType"]

_DIGITS: Final = re.compile(r"[0-9]{1,9}")
_SECONDS: Final = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?|\.[0-9]{1,9}")


class TargetType(click.ParamType[Target]):
    """A remote file; see the rules in `address`."""

    name = "target"

    def convert(self, value: str | Target, param: click.Parameter | None, ctx: click.Context | None) -> Target:
        """Raises click.BadParameter."""
        if isinstance(value, Target):
            return value
        try:
            return parse_target(value)
        except AddressError as error:
            self.fail(error.message, param, ctx)


class NumberType(click.ParamType[int]):
    """A whole number from `least` to `most`, both included."""

    name = "number"

    def __init__(self, least: int, most: int) -> None:
        self._least, self._most = least, most

    def convert(self, value: str | int, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Raises click.BadParameter."""
        text = str(value)
        if not _DIGITS.fullmatch(text) or not self._least <= int(text) <= self._most:
            self.fail(f"{text[:40]!r} is not a whole number from {self._least} to {self._most}.", param, ctx)
        return int(text)


class BlksizeType(click.ParamType[int | Literal["auto"]]):
    """A block size (RFC 2348: 8 to 65464; on a stream up to 1 MiB), or the word auto."""

    name = "blksize"
    _number: Final = NumberType(BLKSIZE_SMALLEST, PAYLOAD_LARGEST)

    def convert(
        self, value: str | int, param: click.Parameter | None, ctx: click.Context | None
    ) -> int | Literal["auto"]:
        """Raises click.BadParameter."""
        return "auto" if value == "auto" else self._number.convert(value, param, ctx)


class SecondsType(click.ParamType[float]):
    """A time in seconds, fractions allowed, from `least` to `most`."""

    name = "seconds"

    def __init__(self, least: float, most: float) -> None:
        self._least, self._most = least, most

    def convert(self, value: str | float, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Raises click.BadParameter."""
        text = str(value)
        if not _SECONDS.fullmatch(text) or not self._least <= float(text) <= self._most:
            self.fail(f"{text[:40]!r} is not a time from {self._least:g} to {self._most:g} seconds.", param, ctx)
        return float(text)
