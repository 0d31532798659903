"""A real server of a folder on a real stream, in a thread, for tests of either side.

A *kind* is what connects the two: a socketpair, TCP over loopback, a UNIX socket, or TLS. Certificates are made with
the `openssl` program, which is skipped for where it is missing.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import shutil
import socket
import ssl
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from blockstep.protocol.errors import RemoteError, TransferFailed
from blockstep.protocol.options import Agreed, Limits
from blockstep.protocol.stream import StreamTransfer, stream_limits
from blockstep.protocol.wire import Request
from blockstep.transport.atomic import AtomicFileSink
from blockstep.transport.dial import connect_tcp, connect_unix, set_up
from blockstep.transport.files import NetasciiSink, NetasciiSource, Sink, Source, source_at
from blockstep.transport.stream_server import ServerStream, serve_connection
from blockstep.transport.tls import client_context, server_context, wrap_client, wrap_server

__all__ = ["KINDS", "Certificates", "FolderHandler", "certificates", "connected", "serving", "short_wait"]

KINDS = ("pair", "tcp", "unix", "tls")

_TIMEOUT_S = 10.0


class FolderHandler:
    """Serves a folder, read and write, and keeps how everything ended."""

    def __init__(self, folder: Path, *, limits: Limits | None = None) -> None:
        self.folder = folder
        self.limits = limits or stream_limits()
        self.ends: list[tuple[Request | None, StreamTransfer | None, RemoteError | TransferFailed | None]] = []

    def open_source(self, request: Request) -> Source:
        source = source_at(self.folder / request.filename)
        return NetasciiSource(source) if request.mode == "netascii" else source

    def open_sink(self, request: Request, agreed: Agreed) -> Sink:
        sink = AtomicFileSink.at(self.folder / request.filename, expected_bytes=agreed.tsize)
        return NetasciiSink(sink) if request.mode == "netascii" else sink

    def ended(
        self, request: Request | None, transfer: StreamTransfer | None, failure: RemoteError | TransferFailed | None
    ) -> None:
        self.ends.append((request, transfer, failure))

    @property
    def failures(self) -> list[str]:
        """What is wrong with each request, in order; "" where nothing is."""
        return [str(failure or "") for _, _, failure in self.ends]


@contextlib.contextmanager
def connected(kind: str) -> Iterator[tuple[Callable[[], socket.socket], Callable[[], socket.socket]]]:
    """How each side gets its socket: (client, server). Both may have to be called at the same time (TLS)."""
    if kind == "pair":
        near, far = socket.socketpair()
        with near, far:
            yield lambda: near, lambda: far
    elif kind == "unix":
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "socket")
            with socket.socket(socket.AF_UNIX) as listener:
                listener.bind(str(path))
                listener.listen()
                yield lambda: connect_unix(path, timeout_s=_TIMEOUT_S), lambda: _accepted(listener)
    else:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            address = listener.getsockname()
            if kind == "tcp":
                yield lambda: connect_tcp(address, timeout_s=_TIMEOUT_S), lambda: _accepted(listener)
            else:
                yield lambda: tls_to(address), lambda: tls_from(_accepted(listener))


def _accepted(listener: socket.socket) -> socket.socket:
    listener.settimeout(_TIMEOUT_S)
    sock = listener.accept()[0]
    set_up(sock)
    return sock


@contextlib.contextmanager
def serving(kind: str, handler: FolderHandler, *, request_timeout_s: float = _TIMEOUT_S) -> Iterator[socket.socket]:
    """The client's socket of one connection that is served; at the end it is closed and the server waited for."""
    with connected(kind) as (client, server):
        crashes: list[BaseException] = []

        def serve() -> None:
            try:
                stream = ServerStream(server(), idle_s=_TIMEOUT_S, request_timeout_s=request_timeout_s)
                serve_connection(stream, handler)
            except BaseException as error:
                crashes.append(error)
                raise

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            with client() as sock:
                yield sock
        finally:
            thread.join(_TIMEOUT_S)
        assert not thread.is_alive()
        assert not crashes


def short_wait(sock: socket.socket) -> bytes:
    """Everything that comes until the stream's end."""
    sock.settimeout(_TIMEOUT_S)
    got = bytearray()
    with contextlib.suppress(ConnectionResetError):
        while piece := sock.recv(65536):
            got += piece
    return bytes(got)


class Certificates:
    """An authority, a server's certificate for localhost and 127.0.0.1, a client's, and one of nobody's."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._sign_itself("ca", "/CN=authority")
        self._sign_itself("stranger", "/CN=localhost", "subjectAltName=DNS:localhost,IP:127.0.0.1")
        self._be_signed("server", "subjectAltName=DNS:localhost,IP:127.0.0.1")
        self._be_signed("client", "subjectAltName=DNS:client")

    def certificate(self, name: str) -> Path:
        """Path of a PEM certificate."""
        return self.folder / f"{name}.pem"

    def key(self, name: str) -> Path:
        """Path of its PEM key."""
        return self.folder / f"{name}.key"

    def _sign_itself(self, name: str, subject: str, *extensions: str) -> None:
        self._openssl("req", "-x509", *self._new(name), "-subj", subject, *_added(extensions))

    def _be_signed(self, name: str, *extensions: str) -> None:
        by = ["-CA", str(self.certificate("ca")), "-CAkey", str(self.key("ca"))]
        self._openssl("req", "-x509", *by, *self._new(name), "-subj", f"/CN={name}", *_added(extensions))

    def _new(self, name: str) -> list[str]:
        curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
        return [*curve, "-keyout", str(self.key(name)), "-out", str(self.certificate(name))]

    def _openssl(self, *arguments: str) -> None:
        subprocess.run(["openssl", *arguments], check=True, capture_output=True, env={"PATH": os.environ["PATH"]})


def _added(extensions: tuple[str, ...]) -> list[str]:
    return [part for extension in extensions for part in ("-addext", extension)]


@functools.cache
def certificates() -> Certificates:
    """Fresh ones for this process."""
    if shutil.which("openssl") is None:
        pytest.skip("needs the openssl program to make certificates")
    folder = tempfile.TemporaryDirectory()
    atexit.register(folder.cleanup)
    return Certificates(Path(folder.name))


def tls_to(address: tuple[str, int]) -> ssl.SSLSocket:
    """A client's TLS connection that trusts the test's authority."""
    context = client_context(cafile=certificates().certificate("ca"))
    return wrap_client(connect_tcp(address, timeout_s=_TIMEOUT_S), context, address[0], timeout_s=_TIMEOUT_S)


def tls_from(sock: socket.socket) -> ssl.SSLSocket:
    """The server's side of it."""
    context = server_context(certificates().certificate("server"), certificates().key("server"))
    return wrap_server(sock, context, timeout_s=_TIMEOUT_S)
