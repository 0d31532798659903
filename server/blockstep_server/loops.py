"""Whether an answer would come back to ourselves: a request that claims to come from one of our own listening ports.

Two listening ports that answer each other would never stop. A socket on all addresses hears on every address of this
machine, so there the system is asked whether the address is one of them; only requests from a port of our own cost
that.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable

from blockstep_server.listen import SockAddr

__all__ = ["OwnPorts"]


class OwnPorts:
    """The UDP addresses that this server listens on."""

    def __init__(self, names: Iterable[SockAddr]) -> None:
        self._hosts: dict[int, set[str]] = {}
        for name in names:
            self._hosts.setdefault(name[1], set()).add(name[0])

    def hear(self, peer: SockAddr) -> bool:
        """Whether a datagram to `peer` would arrive at one of them."""
        hosts = self._hosts.get(peer[1])
        if hosts is None:
            return False
        return peer[0] in hosts or (bool(hosts & {"0.0.0.0", "::"}) and _is_here(peer))


def _is_here(peer: SockAddr) -> bool:
    """Whether this machine has the address: what it has can be bound."""
    family = socket.AF_INET6 if ":" in peer[0] else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((peer[0], 0, *peer[2:]))
        except OSError:
            return False
    return True
