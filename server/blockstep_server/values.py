"""How the words of a command line become values: sizes, addresses, port ranges, networks.

Decided here: which spellings are accepted. Everything raises `LocalError` with a sentence that says what would have
been right. Nothing here resolves a name, opens a socket or knows click.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from typing import Literal

from blockstep.protocol.errors import LocalError

__all__ = [
    "Bind",
    "Mtu",
    "Network",
    "PortRange",
    "parse_bind",
    "parse_mode",
    "parse_mtu",
    "parse_network",
    "parse_port_range",
    "parse_size",
    "parse_tcp",
]

Network = IPv4Network | IPv6Network
Mtu = int | Literal["auto"]

MAX_PORT = 65535


@dataclass(frozen=True, slots=True)
class Bind:
    """One address to listen on. `host` is an address or a name, or "" for every address of both families."""

    host: str
    port: int | None = None

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host or "*"
        return host if self.port is None else f"{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class PortRange:
    """The local ports, both ends included, that transfers may use."""

    low: int
    high: int

    def __post_init__(self) -> None:
        if not 1 <= self.low <= self.high <= MAX_PORT:
            raise LocalError(f"a port range is LOW:HIGH, both from 1 to {MAX_PORT}, not {self.low}:{self.high}")

    def __len__(self) -> int:
        return self.high - self.low + 1

    def __str__(self) -> str:
        return f"{self.low}:{self.high}"


def parse_bind(text: str) -> Bind:
    """`ADDR`, `ADDR:PORT`, `[V6]:PORT`, a bare IPv6 address, `:PORT` or `*` (every address)."""
    bracketed = re.fullmatch(r"\[([^\]]*)\](?::(.+))?", text)
    if bracketed:
        host, port = bracketed.group(1), bracketed.group(2)
    elif text.count(":") == 1:
        host, port = text.split(":")
    else:
        host, port = text, None
    if not text or any(char.isspace() for char in text):
        raise LocalError(f"{text!r} is no address: write ADDR, ADDR:PORT or [IPV6]:PORT")
    return Bind("" if host == "*" else host, None if port is None else parse_port(port))


def parse_tcp(text: str) -> Bind:
    """`[ADDR:]PORT`: what `parse_bind` takes, but the port must be there and the address need not."""
    if re.fullmatch(r"[0-9]+", text):
        return Bind("", parse_port(text))
    bind = parse_bind(text)
    if bind.port is None:
        raise LocalError(f"{text!r} has no port: write PORT, ADDR:PORT or [IPV6]:PORT")
    return bind


def parse_mode(text: str) -> int:
    """The permissions of a file in octal, as chmod takes them: `660`, `0660`."""
    if not re.fullmatch(r"0?[0-7]{3}", text):
        raise LocalError(f"{text!r} are no permissions: write three octal digits, for example 660")
    return int(text, 8)


def parse_port(text: str) -> int:
    """A port number from 0 (the system chooses) to 65535."""
    if not re.fullmatch(r"[0-9]{1,5}", text) or int(text) > MAX_PORT:
        raise LocalError(f"{text!r} is no port: write a number from 0 to {MAX_PORT}")
    return int(text)


def parse_port_range(text: str) -> PortRange:
    """`LOW:HIGH`, as in.tftpd writes it; `LOW-HIGH` is understood too."""
    found = re.fullmatch(r"([0-9]{1,5})[:-]([0-9]{1,5})", text)
    if not found:
        raise LocalError(f"{text!r} is no port range: write LOW:HIGH, for example 50000:50999")
    return PortRange(int(found.group(1)), int(found.group(2)))


_SIZE = re.compile(r"([0-9]{1,18})\s*([kmgt]?)(|b|ib)", re.IGNORECASE)
_POWER = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}


def parse_size(text: str) -> int:
    """A number of bytes. As dd has it: `10M` and `10MiB` count in 1024s, `10MB` in 1000s."""
    found = _SIZE.fullmatch(text.strip())
    if not found:
        raise LocalError(f"{text!r} is no size: write bytes or a unit, for example 500000, 10M or 1GiB")
    number, prefix, ending = found.groups()
    base = 1000 if ending.lower() == "b" else 1024
    return int(number) * int(base ** _POWER[prefix.lower()])


def parse_network(text: str) -> Network:
    """A CIDR network (`192.0.2.0/24`, `2001:db8::/32`) or one address. Host bits must be zero, so that a typo shows."""
    try:
        return ipaddress.ip_network(text)
    except ValueError as error:
        raise LocalError(f"{text!r} is no network: {error}") from None


def parse_mtu(text: str) -> Mtu:
    """`auto` (ask the kernel about each path) or the MTU of every path in bytes."""
    if text.lower() == "auto":
        return "auto"
    if not re.fullmatch(r"[0-9]{1,5}", text) or not 68 <= int(text) <= MAX_PORT:
        raise LocalError(f"{text!r} is no MTU: write auto, or a number of bytes from 68 to 65535")
    return int(text)
