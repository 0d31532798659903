"""The words of a link and of its rules: read, printed and read again they are the same; else a kind error.

The first byte chooses: a link (even) or a rule (odd).
"""

from __future__ import annotations

from collections.abc import Callable

from blockstep.protocol.errors import LocalError
from blockstep_lab.conditions import Conditions
from blockstep_lab.rules import Rule

# What a terminal shows without scrolling, however long the words were.
_ERROR_LARGEST = 1000


def one_input(data: bytes) -> None:
    """`data` is what somebody typed."""
    text = data[1:].decode("utf-8", "surrogateescape")
    _round_trip(Rule.parse if data[:1] and data[0] & 1 else Conditions.parse, text)


def _round_trip(parse: Callable[[str], Conditions | Rule], text: str) -> None:
    try:
        read = parse(text)
    except LocalError as error:
        assert 0 < len(str(error)) <= _ERROR_LARGEST
        return
    printed = str(read)
    assert parse(printed) == read, f"{printed!r} is another link than {text!r}"
    assert str(parse(printed)) == printed
    if isinstance(read, Conditions):
        assert read.tc_line("eth0").endswith(printed)
