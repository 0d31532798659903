"""The command line's words as click sees them: parameter types around the parsers of `values`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from blockstep.protocol.errors import LocalError
from blockstep_server import values

__all__ = ["BIND", "MODE", "MTU", "NETWORK", "PORT_RANGE", "SIZE", "TCP", "Word"]


class Word(click.ParamType[Any]):
    """A parameter type made from a function that parses text or raises LocalError with the sentence to print."""

    def __init__(self, name: str, parse: Callable[[str], object]) -> None:
        self.name = name
        self._parse = parse

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Parse text; a value that is none any more (a default) is taken as it is."""
        if not isinstance(value, str):
            return value
        try:
            return self._parse(value)
        except LocalError as error:
            self.fail(str(error), param, ctx)


BIND = Word("addr[:port]", values.parse_bind)
MODE = Word("mode", values.parse_mode)
MTU = Word("mtu", values.parse_mtu)
NETWORK = Word("cidr", values.parse_network)
PORT_RANGE = Word("low:high", values.parse_port_range)
SIZE = Word("size", values.parse_size)
TCP = Word("[addr:]port", values.parse_tcp)
