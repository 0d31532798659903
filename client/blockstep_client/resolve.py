"""From a host's name to the addresses to try, in the order that the system's resolver prefers (RFC 6724)."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from typing import Final

from blockstep.protocol.wire import printable_untrusted
from blockstep.transport.client import SocketAddress
from blockstep_client.errors import CannotResolve

__all__ = ["Address", "resolve"]

_FAMILY_NAMES: Final = {socket.AF_INET: "IPv4 ", socket.AF_INET6: "IPv6 "}


@dataclass(frozen=True, slots=True)
class Address:
    """Where to send: an address family and what `sendto` takes with it."""

    family: socket.AddressFamily
    where: SocketAddress

    def __str__(self) -> str:
        """`host:port`, an IPv6 host in brackets."""
        host = f"[{self.where[0]}]" if self.family == socket.AF_INET6 else self.where[0]
        return f"{host}:{self.where[1]}"


def resolve(host: str, port: int, family: socket.AddressFamily = socket.AF_UNSPEC) -> list[Address]:
    """Every address of `host`, at least one, without repetition. Raises CannotResolve."""
    try:
        found = socket.getaddrinfo(host, port, family, socket.SOCK_DGRAM)
    except socket.gaierror as error:
        raise CannotResolve(_why(host, family, error)) from error
    except (UnicodeError, ValueError, OverflowError) as error:  # a label too long for the idna codec, for instance
        raise CannotResolve(f"{_shown(host)} is not a host name") from error
    addresses = (Address(entry[0], entry[4]) for entry in found if isinstance(entry[4][0], str))
    return list(dict.fromkeys(addresses))


def _why(host: str, family: socket.AddressFamily, error: socket.gaierror) -> str:
    if error.errno == socket.EAI_AGAIN:
        return f"the name server did not answer for {_shown(host)}"
    return f"{_shown(host)} has no {_FAMILY_NAMES.get(family, '')}address"


def _shown(host: str) -> str:
    return printable_untrusted(host, 120)
