"""Everything that a server listens on, opened in one go: UDP and TCP ports, UNIX sockets, what a parent passed on.

Decided here: sockets that were passed on take the place of `--bind`, and a `--tcp` without an address means the
addresses of `--bind`, so that what was to stay on one interface does. Nothing is left open if one of them fails.
"""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from urllib.parse import quote

from blockstep_server import systemd
from blockstep_server.config import ServerConfig
from blockstep_server.listen import BACKLOG, adopt, host_port, open_tcp, open_udp
from blockstep_server.unix_socket import bound_unix
from blockstep_server.values import Bind

__all__ = ["Door", "open_doors", "try_url"]


@dataclass(frozen=True, slots=True)
class Door:
    """A listening socket. `tls` None: what comes in there is not encrypted."""

    sock: socket.socket
    tls: ssl.SSLContext | None = None

    @property
    def transport(self) -> str:
        """udp, tcp, tls or unix."""
        if self.sock.family == socket.AF_UNIX:
            return "unix"
        if self.sock.type == socket.SOCK_DGRAM:
            return "udp"
        return "tcp" if self.tls is None else "tls"

    @property
    def port(self) -> int:
        """The port, 0 for a UNIX socket."""
        return 0 if self.transport == "unix" else int(self.sock.getsockname()[1])

    def __str__(self) -> str:
        """`127.0.0.1:69 (udp)`, `/run/blockstep.sock (unix)`."""
        name = self.sock.getsockname()
        return f"{name if self.transport == 'unix' else host_port(name)} ({self.transport})"


def open_doors(config: ServerConfig, tls: ssl.SSLContext | None, cleanup: ExitStack) -> list[Door]:
    """All of them, UDP first; `cleanup` closes them. CannotBind, LocalError."""
    with ExitStack() as on_failure:
        doors = [Door(on_failure.enter_context(sock), tls if _is_tcp(sock) else None) for sock in _network(config)]
        for path in config.unix:
            sock = on_failure.enter_context(bound_unix(path, mode=config.unix_mode, backlog=BACKLOG))
            doors.append(Door(sock))
        cleanup.push(on_failure.pop_all())
    return sorted(doors, key=lambda door: door.transport != "udp")


def _is_tcp(sock: socket.socket) -> bool:
    return sock.family != socket.AF_UNIX and sock.type == socket.SOCK_STREAM


def _network(config: ServerConfig) -> Iterator[socket.socket]:
    inherited = [adopt(fd) for fd in systemd.take_listen_fds(os.environ, os.getpid())]
    yield from inherited
    if config.udp and not inherited:
        for bind in config.binds:
            yield from open_udp(bind, config.port)
    for tcp in config.tcp:
        hosts = [tcp.host] if tcp.host else [bind.host for bind in config.binds]
        for host in dict.fromkeys(hosts):
            yield from open_tcp(Bind(host, tcp.port), config.port)


# What somebody may paste to try it.

_SCHEMES = {"udp": "tftp", "tcp": "tftp+tcp", "tls": "tftp+tls", "unix": "tftp+unix"}


def try_url(doors: Sequence[Door]) -> str:
    """The address of a file called NAME, through the first door."""
    scheme, name = _SCHEMES[doors[0].transport], doors[0].sock.getsockname()
    if doors[0].transport == "unix":
        return f"{scheme}://{quote(os.path.abspath(name))}:NAME"
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(name[0], name[0])
    return f"{scheme}://{host_port((host, name[1])).removesuffix(':69')}/NAME"
