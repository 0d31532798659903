"""A folder that is served over streams to many connections, in threads, for tests of the client."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

from blockstep.transport.stream_server import ServerStream, serve_connection
from blockstep.transport.tls import server_context, wrap_server
from blockstep_client.address import Target, Transport
from support.streams import FolderHandler, certificates

__all__ = ["StreamFolder", "stream_folder"]

_TIMEOUT_S = 10.0


class StreamFolder:
    """The server. `accepted` are the sockets of its connections, in order, `handler` has how each request ended."""

    def __init__(self, folder: Path, transport: Transport, listener: socket.socket) -> None:
        self.handler = FolderHandler(folder)
        self.accepted: list[socket.socket] = []
        self._transport = transport
        self._listener = listener
        self._threads: list[threading.Thread] = []

    def target(self, path: str) -> Target:
        """A file in the folder, as the client names it."""
        name = self._listener.getsockname()
        if self._transport is Transport.UNIX:
            return Target(self._transport, name, 0, path)
        return Target(self._transport, "localhost", name[1], path)

    def url(self, path: str) -> str:
        """The same as text."""
        target = self.target(path)
        if self._transport is Transport.UNIX:
            return f"tftp+unix://{target.host}:{path}"
        return f"tftp+{self._transport.value}://{target.host}:{target.port}/{path}"

    def hang_up(self) -> None:
        """End every connection, as a server does with those that were silent for long."""
        for sock in self.accepted:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        self._threads.clear()

    def run(self, tls: ssl.SSLContext | None) -> None:
        """Accept until the listener is shut down."""
        with contextlib.suppress(OSError):
            while True:
                sock = self._listener.accept()[0]
                self.accepted.append(sock)
                thread = threading.Thread(target=self._serve, args=(sock, tls))
                self._threads.append(thread)
                thread.start()

    def _serve(self, sock: socket.socket, tls: ssl.SSLContext | None) -> None:
        with contextlib.suppress(Exception) if tls else contextlib.nullcontext():
            wrapped = wrap_server(sock, tls, timeout_s=_TIMEOUT_S) if tls else sock
            serve_connection(ServerStream(wrapped, request_timeout_s=_TIMEOUT_S), self.handler)


@contextlib.contextmanager
def stream_folder(folder: Path, transport: Transport, *, client_ca: bool = False) -> Iterator[StreamFolder]:
    """A running server of `folder`; with `client_ca` its TLS wants a certificate of the client."""
    tls = None
    if transport is Transport.TLS:
        made = certificates()
        ca = made.certificate("ca") if client_ca else None
        tls = server_context(made.certificate("server"), made.key("server"), client_ca=ca)
    listener = socket.socket(socket.AF_UNIX if transport is Transport.UNIX else socket.AF_INET)
    with listener:
        listener.bind(str(folder.parent / "socket") if transport is Transport.UNIX else ("127.0.0.1", 0))
        listener.listen()
        server = StreamFolder(folder, transport, listener)
        thread = threading.Thread(target=server.run, args=(tls,))
        thread.start()
        try:
            yield server
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()
            server.hang_up()
            for sock in server.accepted:
                sock.close()
