"""The control socket: a word and a newline in, one line of JSON out, as often as somebody asks.

Whoever may open the socket may command the server; its file permissions (0600) are the only lock. Rules: the loop never
waits for anybody here. A line has a bounded length, an answer is sent as the reader takes it, and who neither asks nor
reads for a while, or lets answers pile up, is dropped. Which commands there are and what they do is the caller's.
"""

from __future__ import annotations

import json
import selectors
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from blockstep.protocol.errors import LocalError
from blockstep_server.supervisor import Supervisor
from blockstep_server.timers import Timer

__all__ = ["Control"]

Command = Callable[[], Mapping[str, object]]
"""Does something and says what. LocalError becomes `"ok": false` with its sentence."""

_CLIENTS_MOST = 16
_LINE_BYTES = 256
_WAITING_BYTES = 4 << 20
_PATIENCE_S = 10.0


@dataclass(slots=True, eq=False)
class _Client:
    sock: socket.socket
    unread: bytes = b""
    unsent: bytearray = field(default_factory=bytearray)
    asks_no_more: bool = False
    patience: Timer | None = None


class Control:
    """The listening socket `sock`, watched by `supervisor` until `close`; also while that stops."""

    def __init__(self, sock: socket.socket, supervisor: Supervisor, commands: Mapping[str, Command]) -> None:
        self._sock = sock
        self._supervisor = supervisor
        self._commands = commands
        self._clients: set[_Client] = set()
        supervisor.watch(sock.fileno(), self._handle_readable)

    def close(self) -> None:
        """Drop everybody. The listening socket is the caller's to close."""
        for client in list(self._clients):
            self._drop(client)

    def _handle_readable(self) -> None:
        try:
            sock, _ = self._sock.accept()
        except OSError:  # gone again, or no descriptor is left: that client will ask once more
            return
        if len(self._clients) >= _CLIENTS_MOST:
            sock.close()
            return
        sock.setblocking(False)
        client = _Client(sock)
        self._clients.add(client)
        self._supervisor.watch(sock.fileno(), lambda: self._read(client))
        self._be_patient(client)

    def _read(self, client: _Client) -> None:
        try:
            got = client.sock.recv(_LINE_BYTES)
        except BlockingIOError:
            return
        except OSError:
            got = b""
        *lines, client.unread = (client.unread + got).split(b"\n")
        if len(client.unread) > _LINE_BYTES:
            self._drop(client)
            return
        client.asks_no_more = not got
        self._be_patient(client)
        for line in lines:
            answer = self._answer(line.decode("ascii", "replace").strip())
            client.unsent += json.dumps(answer).encode() + b"\n"
        self._write(client)

    def _answer(self, word: str) -> Mapping[str, object]:
        command = self._commands.get(word)
        if command is None:
            known = ", ".join(sorted(self._commands))
            return {"ok": False, "error": f"no command {word[:40]!r}; there is {known}"}
        try:
            return {"ok": True, "command": word, **command()}
        except LocalError as error:
            return {"ok": False, "command": word, "error": str(error)}

    def _write(self, client: _Client) -> None:
        try:
            sent = client.sock.send(client.unsent) if client.unsent else 0
        except BlockingIOError:
            sent = 0
        except OSError:
            self._drop(client)
            return
        del client.unsent[:sent]
        if len(client.unsent) > _WAITING_BYTES:
            self._drop(client)
            return
        if sent:
            self._be_patient(client)
        fd = client.sock.fileno()
        if client.asks_no_more and not client.unsent:
            self._drop(client)
        elif client.unsent:
            self._supervisor.watch(fd, lambda: self._write(client), selectors.EVENT_WRITE)
        else:
            self._supervisor.watch(fd, lambda: self._read(client))

    def _be_patient(self, client: _Client) -> None:
        """Something moved: wait as long again."""
        if client.patience is not None:
            client.patience.cancel()
        timers, now = self._supervisor.timers, self._supervisor.clock()
        client.patience = timers.call_at(now + _PATIENCE_S, lambda: self._drop(client))

    def _drop(self, client: _Client) -> None:
        if client not in self._clients:
            return
        self._clients.remove(client)
        if client.patience is not None:
            client.patience.cancel()
        self._supervisor.unwatch(client.sock.fileno())
        client.sock.close()
