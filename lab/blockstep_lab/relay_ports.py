"""Which socket of the relay stands for whom.

Decided here: the mapping. A relay has two sides. On the *front*, facing the clients, each server address has its own
port, the listening port being the one of the upstream address. On the *back*, facing the server, each client address
has its own port. So both ends see one port of the relay for each port of the other end: transfer identifiers (RFC 1350
section 4) stay visible, a server that answers from a fresh port shows as a fresh port, and one that keeps to a single
port shows as the listening port. Not known here: packets and their fate.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Iterator

from blockstep_lab.endpoints import Address
from blockstep_lab.rules import FlowRules

__all__ = ["Port", "Side", "bound_socket", "kernel_drops"]

_SO_RCVBUFFORCE = 33
_SO_MEMINFO = 55
_MEMINFO = struct.Struct("9I")
_RECEIVE_BUFFER_BYTES = 4 << 20
# How long a port may be idle when there are many: a test suite makes hundreds of transfers in a minute, each from a
# port of its own, and must not run into the bound.
_CROWDED_IDLE_S = 10.0


def bound_socket(family: socket.AddressFamily, address: Address) -> socket.socket:
    """A non-blocking UDP socket with a large receive buffer; OSError if the address can not be had."""
    sock = socket.socket(family, socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        _enlarge(sock)
        sock.bind(address)
    except BaseException:
        sock.close()
        raise
    return sock


def _enlarge(sock: socket.socket) -> None:
    """As large as asked for with CAP_NET_ADMIN, else as large as net.core.rmem_max allows."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _RECEIVE_BUFFER_BYTES)
    except OSError:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER_BYTES)


def kernel_drops(sock: socket.socket) -> int:
    """Datagrams that the kernel dropped because this socket's buffer was full; 0 where it does not say."""
    try:
        raw = sock.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, _MEMINFO.size)
    except OSError:
        return 0
    return int(_MEMINFO.unpack(raw)[8]) if len(raw) == _MEMINFO.size else 0


class Port:
    """One socket of the relay. `remote` is the address on the *other* side that this port stands for."""

    __slots__ = ("flow", "last_used", "remote", "sock")

    def __init__(self, sock: socket.socket, remote: Address, flow: FlowRules | None) -> None:
        self.sock = sock
        self.remote = remote
        self.flow = flow
        self.last_used = 0.0


class Side:
    """The ports of one side by the address that each stands for; at most `most` of them."""

    def __init__(self, family: socket.AddressFamily, bind_to: Address, most: int) -> None:
        self._family = family
        self._bind_to = bind_to
        self._most = most
        self._ports: dict[Address, Port] = {}

    def __iter__(self) -> Iterator[Port]:
        return iter(self._ports.values())

    def get(self, remote: Address) -> Port | None:
        """The port that stands for `remote`."""
        return self._ports.get(remote)

    def add(self, port: Port) -> None:
        """Takes a port that exists already."""
        self._ports[port.remote] = port

    def maybe_open(self, remote: Address, start_flow: Callable[[], FlowRules] | None) -> Port | None:
        """A fresh port for `remote`, or None when there are too many or the system has no more."""
        if len(self._ports) >= self._most:
            return None
        try:
            sock = bound_socket(self._family, self._bind_to)
        except OSError:
            return None
        port = Port(sock, remote, start_flow() if start_flow is not None else None)
        self._ports[remote] = port
        return port

    def pop_idle(self, now: float, idle_s: float) -> list[Port]:
        """Takes out the ports that were not used for so long, or for less where half are taken, for closing."""
        if len(self._ports) > self._most // 2:
            idle_s = min(idle_s, _CROWDED_IDLE_S)
        idle = [port for port in self if port.last_used < now - idle_s]
        for port in idle:
            del self._ports[port.remote]
        return idle
