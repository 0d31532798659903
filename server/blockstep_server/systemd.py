"""What a service manager gives and wants: sockets that it opened, and word of when we are ready or stopping.

sd_listen_fds(3) and sd_notify(3), without libsystemd. Taken only if meant for this very process, and removed from the
environment, so that no child takes them a second time.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import MutableMapping

__all__ = ["notify", "take_listen_fds"]

_FIRST_FD = 3


def take_listen_fds(environ: MutableMapping[str, str], pid: int) -> list[int]:
    """The descriptors passed to process `pid`, made close-on-exec; empty if there are none or they are another's."""
    owner, number = environ.get("LISTEN_PID", ""), environ.get("LISTEN_FDS", "")
    if not (_is_number(owner) and _is_number(number)) or int(owner) != pid:
        return []
    for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"):
        environ.pop(name, None)
    fds = list(range(_FIRST_FD, _FIRST_FD + int(number)))
    for fd in fds:
        with contextlib.suppress(OSError):  # what is not open is reported by whoever uses it
            os.set_inheritable(fd, False)
    return fds


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 9


def notify(state: str, address: str | None) -> bool:
    """Send `state` (such as "READY=1") to the manager at `address`, the value of NOTIFY_SOCKET. True if it was sent.

    A manager that cannot be reached is no reason to stop serving.
    """
    if not address or address[0] not in "/@":
        return False
    target = "\0" + address[1:] if address[0] == "@" else address
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.sendto(state.encode(), target)
        return True
    return False
