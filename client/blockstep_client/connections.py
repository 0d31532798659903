"""Connections to servers, for one command: made when they are needed, kept for the files that follow.

Decided here: every address of a host is tried in turn (`in_turn`), as for datagrams; the name in a certificate must be
the host's as the user wrote it; certificates are read once, and only for TLS.
"""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Self

from blockstep.protocol.errors import End, TransferFailed
from blockstep.transport.dial import connect_tcp, connect_unix
from blockstep.transport.stream_client import ClientStream
from blockstep.transport.tls import client_context, wrap_client
from blockstep_client.address import Target, Transport
from blockstep_client.errors import NotTrusted
from blockstep_client.in_turn import first_answer
from blockstep_client.resolve import Address, resolve
from blockstep_client.settings import Settings

__all__ = ["Connections", "Kept"]


@dataclass(frozen=True, slots=True)
class Kept:
    """A connection; `used` says that files have gone over it before, so the server may have left it meanwhile."""

    stream: ClientStream
    peer: str
    used: bool = False


class Connections:
    """The connections of one command. A context manager: at its end they are closed. `note` takes words for `-v`."""

    def __init__(self, settings: Settings, note: Callable[[str], None]) -> None:
        self._settings = settings
        self._note = note
        self._kept: dict[tuple[Transport, str, int], Kept] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with ExitStack() as closing:
            for kept in self._kept.values():
                closing.callback(kept.stream.close)

    def to(self, target: Target, expires_at: float) -> Kept:
        """A usable connection to the server of `target`, kept from before or new.

        Raises CannotResolve, NotTrusted, TransferFailed, LocalError for certificates that cannot be read.
        """
        server = (target.transport, target.host, target.port)
        kept = self._kept.get(server)
        if kept is not None and kept.stream.usable:
            return Kept(kept.stream, kept.peer, used=True)
        made = self._kept[server] = self._connect(target, expires_at)
        return made

    def _connect(self, target: Target, expires_at: float) -> Kept:
        if target.transport is Transport.UNIX:
            sock = connect_unix(Path(target.host), timeout_s=self._patience_s(expires_at))
            return self._keep(sock, target.host)

        def call(address: Address, at_most_s: float | None, *, tries_elsewhere: bool) -> Kept:  # noqa: ARG001 - Try's
            patience_s = self._patience_s(expires_at)
            return self._call(target, address, patience_s if at_most_s is None else min(at_most_s, patience_s))

        return first_answer(resolve(target.host, target.port, self._settings.family), call, self._note)

    def _call(self, target: Target, address: Address, timeout_s: float) -> Kept:
        self._note(f"connecting to {address}")
        sock = connect_tcp(address.where, timeout_s=timeout_s)
        if target.transport is not Transport.TLS:
            return self._keep(sock, str(address))
        try:
            name = target.host.partition("%")[0]
            return self._keep(wrap_client(sock, self._context, name, timeout_s=timeout_s), str(address))
        except TransferFailed as failure:
            if failure.end is End.REFUSED:
                raise NotTrusted(failure.detail) from None
            raise
        except BaseException:
            sock.close()
            raise

    def _keep(self, sock: socket.socket, peer: str) -> Kept:
        return Kept(ClientStream(sock, idle_s=self._settings.give_up_s), peer)

    def _patience_s(self, expires_at: float) -> float:
        left_s = expires_at - time.monotonic()
        if left_s <= 0:
            raise TransferFailed(End.MAX_TIME, "no answer in time")
        return min(self._settings.give_up_s, left_s)

    @cached_property
    def _context(self) -> ssl.SSLContext:
        settings = self._settings
        return client_context(cafile=settings.cafile, certificate=settings.certificate, key=settings.key)
