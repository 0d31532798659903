"""The sockets that answer: from the address that was asked, to one peer only.

Decided here: which port a transfer uses and how strangers are kept apart. The *hot* socket is connected to the peer, so
the kernel sorts out foreign datagrams and reports a closed port at once. A *stray* socket on the same fresh port is not
connected and gets what the others send, so that they can be told "unknown transfer ID" (RFC 1350 section 4).

Sharing a port needs SO_REUSEADDR on every socket that has it. The flag is set only while the second one is bound: at
any other time the port is exclusive, no other process can join it, and the system never gives one fresh port to two
transfers (it would, if the flag were set before it chooses). No protocol here: who reads these sockets is `transport`.
"""

from __future__ import annotations

import contextlib
import errno
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from random import Random

from blockstep_server.listen import Arrival, receive_request
from blockstep_server.values import PortRange

__all__ = ["NoPortLeft", "ReplySockets", "open_fresh_port", "open_single_port", "unread"]


class NoPortLeft(OSError):
    """Every port of `--port-range` is in use."""


@dataclass(slots=True)
class ReplySockets:
    """What one transfer talks through. `stray` is None in single-port mode: there the listener hears the others."""

    hot: socket.socket
    stray: socket.socket | None = None

    def fds(self) -> tuple[int, ...]:
        """Their descriptors, for whoever must keep them open."""
        return tuple(sock.fileno() for sock in (self.hot, self.stray) if sock is not None)

    def close(self) -> None:
        """Close both. Allowed twice."""
        self.hot.close()
        if self.stray is not None:
            self.stray.close()


def open_single_port(listener: socket.socket, arrival: Arrival) -> tuple[ReplySockets, list[Arrival]]:
    """A hot socket on the listener's own port, made *before* the fork, so that no datagram falls between two owners.

    Also gives the datagrams (anybody's, the peer's too) that the kernel handed to the new socket before it was
    connected: they belong to the listener. OSError if the system refuses.
    """
    hot = _new_socket(arrival)
    try:
        with _shareable(listener, hot):
            hot.bind(arrival.local_sockaddr(arrival.local_port))
        hot.connect(arrival.peer)
        return ReplySockets(hot), list(_queued(hot))
    except BaseException:
        hot.close()
        raise


def unread(hot: socket.socket) -> list[Arrival]:
    """What a hot socket on the listener's port still holds when its transfer has ended: it belongs to the listener.

    From this call on the peer's datagrams go to the listener, so that none falls between two owners: connected to
    itself, the socket hears nobody and keeps what it has.
    """
    hot.setblocking(False)  # the child has made it wait, and that is the socket's, not the descriptor's
    with contextlib.suppress(OSError):
        hot.connect(hot.getsockname())
    return list(_queued(hot))


def open_fresh_port(arrival: Arrival, ports: PortRange | None, rng: Random) -> ReplySockets:
    """A hot and a stray socket on a port of their own: any, or one of `ports` at random. OSError if that fails."""
    with ExitStack() as undo:
        stray = undo.enter_context(_new_socket(arrival))
        hot = undo.enter_context(_new_socket(arrival))
        _bind_fresh(stray, arrival, ports, rng)
        with _shareable(stray, hot):
            hot.bind(arrival.local_sockaddr(stray.getsockname()[1]))
        hot.connect(arrival.peer)
        # The peer does not know this port yet: what is here already was sent blindly, by somebody else.
        for _ in _queued(hot):
            pass
        undo.pop_all()
        return ReplySockets(hot, stray)


def _new_socket(arrival: Arrival) -> socket.socket:
    sock = socket.socket(arrival.family, socket.SOCK_DGRAM)
    sock.setblocking(False)
    return sock


def _bind_fresh(sock: socket.socket, arrival: Arrival, ports: PortRange | None, rng: Random) -> None:
    if ports is None:
        sock.bind(arrival.local_sockaddr(0))
        return
    start = rng.randrange(len(ports))
    for step in range(len(ports)):
        try:
            sock.bind(arrival.local_sockaddr(ports.low + (start + step) % len(ports)))
            return
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
    raise NoPortLeft(errno.EADDRINUSE, f"all ports from {ports.low} to {ports.high} are in use")


@contextmanager
def _shareable(first: socket.socket, second: socket.socket) -> Iterator[None]:
    """While `second` is bound to the port of `first`. Afterwards `first` keeps everybody else off the port."""
    second.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    first.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        yield
    finally:
        first.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)


# What comes after the connect is the peer's, and has no end if it floods us; before it, no more than this fits.
_MOST_QUEUED = 1024


def _queued(sock: socket.socket) -> Iterator[Arrival]:
    for _ in range(_MOST_QUEUED):
        try:
            arrival = receive_request(sock)
        except OSError:  # what the network says of the peer (its port is closed, a firewall refuses): not of a datagram
            continue
        if arrival is None:
            return
        yield arrival
