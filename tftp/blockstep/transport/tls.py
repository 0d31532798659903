"""TLS around a stream: contexts and handshakes. UDP has no equivalent.

Decided here: TLS 1.3 and nothing older; the client always checks the certificate and the name in it; no session
tickets, because nothing here resumes. A failed handshake is TransferFailed: REFUSED when we do not trust the peer,
PEER_GONE when the two do not get together, TIMED_OUT. A stream that ends without TLS's own goodbye is no matter: frames
say where a file ends, so one that was cut off is never taken for whole.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

from blockstep.protocol.errors import End, LocalError, TransferFailed

__all__ = ["client_context", "server_context", "wrap_client", "wrap_server"]


def client_context(
    *, cafile: Path | None = None, certificate: Path | None = None, key: Path | None = None
) -> ssl.SSLContext:
    """A client's context. Trusts `cafile`, or what the system trusts; shows `certificate` (PEM) where one is given.

    LocalError for a file that cannot be used.
    """
    with _files_usable():
        context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=cafile)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        if certificate is not None:
            context.load_cert_chain(certificate, key, password=_no_password)
        return context


def server_context(certificate: Path, key: Path | None = None, *, client_ca: Path | None = None) -> ssl.SSLContext:
    """A server's context: its `certificate` chain and `key`, PEM, both in one file if `key` is None.

    With `client_ca` only clients that show a certificate of that authority are served. LocalError for a file that
    cannot be used.
    """
    with _files_usable():
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.num_tickets = 0
        context.load_cert_chain(certificate, key, password=_no_password)
        if client_ca is not None:
            context.load_verify_locations(client_ca)
            context.verify_mode = ssl.CERT_REQUIRED
        return context


def wrap_client(sock: socket.socket, context: ssl.SSLContext, server_name: str, *, timeout_s: float) -> ssl.SSLSocket:
    """Shake hands with the server, which must have a certificate for `server_name` (a host name or an address).

    Takes over `sock`. A server that asks for our certificate judges it after this has returned.
    """
    try:
        sock.settimeout(timeout_s)
        return context.wrap_socket(sock, server_hostname=server_name)
    except (OSError, ValueError) as error:
        sock.close()
        raise _not_shaken(error, timeout_s) from None


def wrap_server(sock: socket.socket, context: ssl.SSLContext, *, timeout_s: float) -> ssl.SSLSocket:
    """Shake hands with a client. Takes over `sock`."""
    try:
        sock.settimeout(timeout_s)
        return context.wrap_socket(sock, server_side=True)
    except OSError as error:
        sock.close()
        raise _not_shaken(error, timeout_s) from None


def _not_shaken(error: OSError | ValueError, timeout_s: float) -> TransferFailed:
    if isinstance(error, ssl.SSLCertVerificationError):
        return TransferFailed(End.REFUSED, f"the certificate is not trusted: {error.verify_message}")
    if isinstance(error, ssl.SSLEOFError | ConnectionError):
        return TransferFailed(End.PEER_GONE, "the connection was closed during the TLS handshake")
    if isinstance(error, ssl.SSLError):
        said = (error.reason or "unknown error").replace("_", " ").lower()
        return TransferFailed(End.PEER_GONE, f"the TLS handshake failed: {said}")
    if isinstance(error, TimeoutError):
        return TransferFailed(End.TIMED_OUT, f"no TLS handshake within {timeout_s:g} s")
    return TransferFailed(End.PEER_GONE, f"the TLS handshake failed: {error}")


def _no_password() -> str:
    raise LocalError("a key that is locked with a password cannot be used")


@contextlib.contextmanager
def _files_usable() -> Iterator[None]:
    try:
        yield
    except ssl.SSLError as error:
        said = (error.reason or "no PEM certificate in it").replace("_", " ").lower()
        raise LocalError(f"a certificate or key file cannot be used: {said}") from None
    except OSError as error:
        raise LocalError(f"a certificate or key file cannot be read: {(error.strerror or '').lower()}") from None
