"""Connected stream sockets: how they are made, and how they are set up on both sides.

Decided here: no delay for small frames (a request and a final ACK must not wait for company), and probes of the kernel
for a peer that has vanished while nothing is due. TCP's buffers stay the kernel's, which adapts them to the path, and
others were no faster (docs/performance.md). A UNIX socket's are fixed and small, so that its two sides would wait for
each other more often than they must.
"""

from __future__ import annotations

import contextlib
import errno
import socket
from collections.abc import Callable
from pathlib import Path

from blockstep.protocol.errors import End, LocalError, TransferFailed

__all__ = ["connect_tcp", "connect_unix", "set_up"]

SocketAddress = tuple[str, int] | tuple[str, int, int, int]

UNIX_BUFFER_BYTES = 1024 * 1024
PROBE_AFTER_S = 15
PROBE_EVERY_S = 5
PROBES = 4


def connect_tcp(address: SocketAddress, *, timeout_s: float) -> socket.socket:
    """A connection to a numeric address. TransferFailed: PEER_GONE where nobody listens, TIMED_OUT."""
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    return _connected(socket.socket(family, socket.SOCK_STREAM), lambda sock: sock.connect(address), timeout_s)


def connect_unix(path: Path, *, timeout_s: float) -> socket.socket:
    """A connection to the socket at `path`. TransferFailed as `connect_tcp`; LocalError for a path that is too long."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    return _connected(sock, lambda sock: sock.connect(str(path)), timeout_s)


def set_up(sock: socket.socket) -> None:
    """Set the options of a connected socket, ours or one that was accepted. What the system lacks is left out."""
    if sock.family == socket.AF_UNIX:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, UNIX_BUFFER_BYTES)
        return
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    probes = {"TCP_KEEPIDLE": PROBE_AFTER_S, "TCP_KEEPINTVL": PROBE_EVERY_S, "TCP_KEEPCNT": PROBES}
    for name, value in probes.items():
        with contextlib.suppress(OSError, AttributeError):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def _connected(sock: socket.socket, connect: Callable[[socket.socket], None], timeout_s: float) -> socket.socket:
    sock.settimeout(timeout_s)
    try:
        connect(sock)
        set_up(sock)
    except BaseException as error:
        sock.close()
        if isinstance(error, TimeoutError):
            raise TransferFailed(End.TIMED_OUT, f"no answer for {timeout_s:g} s") from None
        if isinstance(error, OSError):
            raise _unreached(error) from None
        raise
    return sock


def _unreached(error: OSError) -> TransferFailed | LocalError:
    if error.errno is None:  # the socket module itself refuses the address, too long a path for one
        return LocalError(f"the address cannot be used: {error}")
    if error.errno in (errno.ECONNREFUSED, errno.ENOENT):
        return TransferFailed(End.PEER_GONE, "no server listens there")
    return TransferFailed(End.PEER_GONE, f"the server cannot be reached: {(error.strerror or 'unknown error').lower()}")
