"""`HOST:PORT` as a person types it, and as a socket wants it.

Decided here: the spelling (`127.0.0.1:6969`, `[::1]:69`, `host:69`, `:6969` and `6969` for this machine alone), and
that a name is resolved once, at the start. Not known here: what the address is for.
"""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass

from blockstep_lab.words import WordsError

__all__ = ["Address", "Endpoint", "format_address", "parse_endpoint"]

# What Python's socket calls take and give: (host, port) or (host, port, flow info, scope).
Address = tuple[str, int] | tuple[str, int, int, int]

LOOPBACK = "127.0.0.1"
_ENDPOINT = re.compile(r"(?:\[(?P<bracketed>[^\[\]\s]+)\]|(?P<host>[^:\[\]\s]*)):(?P<port>[0-9]{1,5})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A host and a port, not resolved yet."""

    host: str
    port: int

    def resolve_udp(self, prefer: socket.AddressFamily = socket.AF_INET) -> tuple[socket.AddressFamily, Address]:
        """An address, of the family `prefer` if the host has one; OSError (`socket.gaierror`) if there is none.

        Nobody answers a connection attempt here, so `localhost` can not be tried out: IPv4 is what most servers have.
        """
        found = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_DGRAM)
        family, _, _, _, address = min(found, key=lambda entry: entry[0] != prefer)
        return family, _address(address)

    def __str__(self) -> str:
        return format_address((self.host, self.port))


def parse_endpoint(text: str, default_port: int | None = None) -> Endpoint:
    """Reads `HOST:PORT`; without a host it is this machine, without a port `default_port`. Raises `WordsError`."""
    if text.isascii() and text.isdecimal():
        text = f":{text}"
    match = _ENDPOINT.fullmatch(text)
    if match is None and default_port is not None:
        match = _ENDPOINT.fullmatch(f"{text}:{default_port}")
    if match is None:
        hint = f"; did you mean '[{text}]:69'?" if text.count(":") > 1 and "[" not in text else ""
        raise WordsError(f"{text[:60]!r} is not an address such as 127.0.0.1:6969, [::1]:69 or host:69{hint}")
    port = int(match["port"])
    if port > 65535:
        raise WordsError(f"{text[:60]!r}: a port goes from 0 to 65535")
    return Endpoint(match["bracketed"] or match["host"] or LOOPBACK, port)


def format_address(address: Address) -> str:
    """`127.0.0.1:69`, `[::1]:69`."""
    return f"[{address[0]}]:{address[1]}" if ":" in address[0] else f"{address[0]}:{address[1]}"


def _address(raw: tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes]) -> Address:
    """`getaddrinfo` is typed for systems whose Python has no IPv6, where it gives bytes; this is not one of them."""
    host, port = raw[:2]
    assert isinstance(host, str)
    assert isinstance(port, int)
    return (host, port) if len(raw) == 2 else (host, port, raw[2], raw[3])
