"""Nodes of the simulated network, on real sockets and in real time: one thread, one selector.

Decided here: when each node is called, and that all of it ends when `close` returns: thread, sockets, everything. A
datagram that cannot be sent is lost, as on any network. Not known here: protocols.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
from collections import deque
from collections.abc import Callable
from time import monotonic
from typing import TypeVar

from blockstep_lab.simnet import Node, Send, SimAddress

__all__ = ["NodeLoop"]

_LARGEST_DATAGRAM = 65_535
# Datagrams taken from one socket before the others get their turn.
_BATCH = 64
_LONGEST_S = 0.5
_RECEIVE_BUFFER_BYTES = 1 << 20

_NodeT = TypeVar("_NodeT", bound=Node)


class _Seat:
    """A node and its socket."""

    __slots__ = ("node", "sock")

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.node: Node | None = None


class NodeLoop:
    """Runs nodes from `start` to `close`. `after_turn` is called in the thread whenever something may have happened.

    `attach` and `detach` are for the time before the start and for the thread itself.
    """

    def __init__(self, after_turn: Callable[[], None] = lambda: None) -> None:
        self._after_turn = after_turn
        self._seats: list[_Seat] = []
        self._selector = selectors.DefaultSelector()
        self._awake, self._wake = socket.socketpair()
        self._selector.register(self._awake, selectors.EVENT_READ)
        self._stopping = False
        self._barriers: deque[threading.Event] = deque()
        self._thread = threading.Thread(target=self._run, name="tftpserver", daemon=True)

    def attach(self, address: SimAddress, make: Callable[[Send], _NodeT]) -> _NodeT:
        """A new node with a socket at `address` (port 0: any free one); OSError if it cannot be had."""
        seat = _Seat(_bound(address))
        try:
            node = make(lambda data, destination: _send(seat.sock, data, destination))
        except BaseException:
            seat.sock.close()
            raise
        seat.node = node
        self._seats.append(seat)
        self._selector.register(seat.sock, selectors.EVENT_READ, seat)
        return node

    def detach(self, node: Node) -> None:
        """Close the socket of a node."""
        seat = self._seat_of(node)
        self._seats.remove(seat)
        self._selector.unregister(seat.sock)
        seat.sock.close()

    def address_of(self, node: Node) -> SimAddress:
        """Where a node is attached."""
        host, port = self._seat_of(node).sock.getsockname()[:2]
        return host, port

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def catch_up(self, timeout_s: float) -> None:
        """Wait until all that had arrived before this call has been handled, or the loop has ended."""
        barrier = threading.Event()
        self._barriers.append(barrier)
        with contextlib.suppress(OSError):  # closed: nothing will be handled any more
            self._wake.send(b"x")
            barrier.wait(timeout_s)

    def close(self) -> None:
        """End the thread and close every socket; may be called twice."""
        if self._stopping:
            return
        self._stopping = True
        self._wake.send(b"x")
        if self._thread.ident is not None:
            self._thread.join()
        for seat in self._seats:
            seat.sock.close()
        self._selector.close()
        self._awake.close()
        self._wake.close()

    def _seat_of(self, node: Node) -> _Seat:
        return next(seat for seat in self._seats if seat.node is node)

    def _run(self) -> None:
        while not self._stopping:
            deadlines = [seat.node.next_deadline() for seat in self._seats if seat.node is not None]
            until = min((deadline for deadline in deadlines if deadline is not None), default=None)
            wait_s = _LONGEST_S if until is None else min(max(until - monotonic(), 0.0), _LONGEST_S)
            ready = [key.data for key, _ in self._selector.select(wait_s)]
            # A barrier that stands before the sockets are read: all that came before it is handled in this turn.
            passed = [self._barriers.popleft() for _ in range(len(self._barriers))]
            for seat in list(self._seats) if passed else filter(None, ready):
                _drain(seat)
            if None in ready:
                self._awake.recv(4096)
            self._handle_deadlines()
            self._after_turn()
            for barrier in passed:
                barrier.set()
        for barrier in self._barriers:
            barrier.set()

    def _handle_deadlines(self) -> None:
        now = monotonic()
        for seat in list(self._seats):
            deadline = seat.node.next_deadline() if seat.node is not None else None
            if seat.node is not None and deadline is not None and deadline <= now:
                seat.node.handle_deadline(now)


def _bound(address: SimAddress) -> socket.socket:
    sock = socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET, socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER_BYTES)
        sock.bind(address)
    except BaseException:
        sock.close()
        raise
    return sock


def _send(sock: socket.socket, data: bytes, destination: SimAddress) -> None:
    with contextlib.suppress(OSError):
        sock.sendto(data, destination)


def _drain(seat: _Seat) -> None:
    with contextlib.suppress(OSError):
        for _ in range(_BATCH):
            data, source = seat.sock.recvfrom(_LARGEST_DATAGRAM)
            if seat.node is not None:
                seat.node.handle_datagram(data, source[:2], monotonic())
