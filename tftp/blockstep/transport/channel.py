"""Bytes on a connected stream socket, with limits on waiting: TCP, UNIX or TLS, it makes no difference above.

Decided here:

* Nothing waits longer than `idle_s` without a byte moving, nor past `deadline`. `socket.sendall` would limit a whole
  frame instead, which on a slow path takes long without ever standing still; so what it does is done here.
* What ends a connection becomes TransferFailed: PEER_GONE, TIMED_OUT or MAX_TIME, with a sentence.
* Goodbye with an ERROR is said so that it arrives: after the frame our side is closed, and what the peer still sends is
  thrown away for a moment. After closing at once the kernel would answer that with a reset, which can overtake the
  ERROR.

Frames and their order are the caller's, but for one thing: `mid_send` says that a send was broken off, and that nothing
said after it would be understood.
"""

from __future__ import annotations

import contextlib
import math
import select
import socket
import ssl
import time
from collections.abc import Callable

from blockstep.protocol.errors import End, ErrorCode, TransferFailed

__all__ = ["Channel"]

FAREWELL_S = 2.0
_DRAIN_BYTES = 1 << 18


class Channel:
    """A connected stream socket, which it takes over. `idle_s` and `deadline` (on `clock`) limit every wait.

    Raises TransferFailed from `send`, `receive` and `receive_now`; the socket stays open until `close` or `farewell`.
    """

    def __init__(
        self, sock: socket.socket, *, idle_s: float = 30.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.sock = sock
        self.clock = clock
        self.idle_s = idle_s
        self.deadline = math.inf
        self.mid_send = False
        self._timeout_s: float | None = None
        self._poll = select.poll()
        self._poll.register(sock, select.POLLIN)

    @property
    def closed(self) -> bool:
        """True when the socket is closed."""
        return self.sock.fileno() < 0

    def send(self, data: bytes | memoryview) -> None:
        """Send all of `data`."""
        view = memoryview(data)
        self.mid_send = True
        while view:
            self._limit_wait()
            try:
                sent = self.sock.send(view)
            except OSError as error:
                raise self._failure(error) from None
            view = view[sent:]
        self.mid_send = False

    def receive(self, space: memoryview) -> int:
        """Wait for bytes, at most as many as `space` has room for, and return their number; 0 at the stream's end."""
        self._limit_wait()
        try:
            return self.sock.recv_into(space)
        except OSError as error:
            raise self._failure(error) from None

    def receive_now(self, space: memoryview) -> int | None:
        """As `receive`, but None where it would have to wait. Costs one poll when nothing is there."""
        if not self._is_readable():
            return None
        self._set_timeout(0.0)
        try:
            return self.sock.recv_into(space)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return None  # readable, but only for TLS itself
        except OSError as error:
            raise self._failure(error) from None

    def farewell(self, last: bytes) -> None:
        """Send `last` if it would be understood, then close so that it arrives; the network's errors are no matter."""
        with contextlib.suppress(TransferFailed, OSError):
            self.deadline = self.clock() + FAREWELL_S
            if not self.mid_send:
                self.send(last)
            self.sock.shutdown(socket.SHUT_WR)
            dregs = memoryview(bytearray(_DRAIN_BYTES))
            while self.receive(dregs):
                pass
        self.close()

    def close(self) -> None:
        """Close the socket; may be called twice."""
        self.sock.close()

    def _is_readable(self) -> bool:
        if isinstance(self.sock, ssl.SSLSocket) and self.sock.pending():
            return True
        return bool(self._poll.poll(0))

    def _limit_wait(self) -> None:
        if self.deadline == math.inf:
            self._set_timeout(self.idle_s)
            return
        left_s = self.deadline - self.clock()
        if left_s <= 0:
            raise self._failure(TimeoutError())
        self._set_timeout(min(self.idle_s, left_s))

    def _set_timeout(self, timeout_s: float) -> None:
        if timeout_s != self._timeout_s:
            self._timeout_s = timeout_s
            self.sock.settimeout(timeout_s)

    def _failure(self, error: OSError) -> TransferFailed:
        if isinstance(error, TimeoutError) and error.errno is None:
            if self.clock() >= self.deadline:
                return TransferFailed(End.MAX_TIME, "the transfer took too long", ErrorCode.UNDEFINED)
            return TransferFailed(End.TIMED_OUT, f"nothing moved for {self.idle_s:g} s", ErrorCode.UNDEFINED)
        return TransferFailed(End.PEER_GONE, f"the connection broke: {_reason(error)}")


def _reason(error: OSError) -> str:
    if isinstance(error, ssl.SSLError):
        return f"TLS: {(error.reason or 'unknown error').replace('_', ' ').lower()}"
    return (error.strerror or "unknown error").lower()
