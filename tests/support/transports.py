"""The real server on each transport, and a client of raw packets that does not care which one it is.

A *kind* is udp, tcp, unix or tls. Every server listens for datagrams too, as it does in use.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from blockstep.protocol.framing import frame
from blockstep.transport.dial import connect_tcp, connect_unix
from blockstep.transport.tls import client_context, wrap_client
from support.ownership import STAY
from support.processes import RunningServer
from support.streams import certificates

__all__ = ["KINDS", "Raw", "TransportServer", "transport_server"]

KINDS = ("udp", "tcp", "unix", "tls")
_TIMEOUT_S = 30.0


class TransportServer(RunningServer):
    """`blockstep serve` on one transport beside UDP."""

    kind = "udp"

    def door(self, kind: str) -> str:
        """Where it listens for `kind`: HOST:PORT, or the path of a socket."""
        found: str = next(each for each in self.ready["addresses"] if each.endswith(f"({kind})"))
        return found.rpartition(" ")[0]

    def url(self, name: str, ipv6: bool = False) -> str:
        """The address of a file on the server's transport."""
        assert not ipv6
        scheme = "tftp" if self.kind == "udp" else f"tftp+{self.kind}"
        return f"{scheme}://{self.door(self.kind)}{':' if self.kind == 'unix' else '/'}{name}"

    def raw(self, kind: str | None = None) -> Raw:
        """A client of raw packets."""
        kind = kind or self.kind
        return Raw(kind, self.door(kind))

    def await_idle(self) -> None:
        """Wait until the last child has been waited for. A connection's child may have nothing more to say."""
        while pids := self.children():
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    fd = os.pidfd_open(pid)
                    ready, _, _ = select.select([fd], [], [], _TIMEOUT_S)
                    os.close(fd)
                    assert ready, "a child lives on"


@contextlib.contextmanager
def transport_server(kind: str, root: Path, *options: str) -> Iterator[TransportServer]:
    """A running server of `root`, checked and gone afterwards; one that a test has seen to its end is not checked."""
    with tempfile.TemporaryDirectory() as folder:
        doors = [*_DOORS[kind](folder), "-b", "127.0.0.1:0", *STAY]
        argv = [
            sys.executable,
            "-W",
            "error",
            "-m",
            "blockstep",
            "serve",
            os.fspath(root),
            "--log-format",
            "json",
            "-v",
        ]
        environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        with TransportServer([*argv, *doors, *options], env=environ, start_new_session=True) as server:
            server.kind = kind
            yield server
            if server.process.poll() is None:
                server.stop_and_check(root)
        assert os.listdir(folder) == [], "a socket is left"


def _tls(_folder: str) -> list[str]:
    made = certificates()
    return ["--tcp", "0", "--tls-cert", str(made.certificate("server")), "--tls-key", str(made.key("server"))]


_DOORS = {
    "udp": lambda _folder: [],
    "tcp": lambda _folder: ["--tcp", "0"],
    "unix": lambda folder: ["--unix", f"{folder}/socket"],
    "tls": _tls,
}


class Raw:
    """Packets to and from a server, framed where the transport wants it."""

    def __init__(self, kind: str, door: str) -> None:
        self._is_datagrams = kind == "udp"
        self._unread = b""
        host, _, port = door.rpartition(":")
        if kind == "udp":
            self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            self.sock.bind(("127.0.0.1", 0))
            self.sock.settimeout(_TIMEOUT_S)
            self._server = (host, int(port))
        elif kind == "unix":
            self.sock = connect_unix(Path(door), timeout_s=_TIMEOUT_S)
        else:
            self.sock = connect_tcp((host, int(port)), timeout_s=_TIMEOUT_S)
        if kind == "tls":
            context = client_context(cafile=certificates().certificate("ca"))
            self.sock = wrap_client(self.sock, context, host, timeout_s=_TIMEOUT_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.sock.close()

    def say(self, packet: bytes) -> None:
        """Send a packet."""
        if self._is_datagrams:
            self.sock.sendto(packet, self._server)
        elif packet[:2] == b"\0\3":
            self.sock.sendall(len(packet).to_bytes(4, "big") + packet)
        else:
            self.sock.sendall(frame(packet))

    def hear(self) -> bytes:
        """The next packet; empty when the server has hung up."""
        if self._is_datagrams:
            packet, self._server = self.sock.recvfrom(70_000)
            return packet
        head = self._exactly(4)
        return self._exactly(int.from_bytes(head, "big")) if head else b""

    def _exactly(self, count: int) -> bytes:
        with contextlib.suppress(ConnectionResetError):
            while len(self._unread) < count and (piece := self.sock.recv(1 << 16)):
                self._unread += piece
        found, self._unread = self._unread[:count], self._unread[count:]
        return found if len(found) == count else b""
