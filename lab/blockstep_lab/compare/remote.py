"""Runs over a real path: our client against a running `blockstep serve`, UDP and TCP, with no impairment of ours.

Decided here: the first fetch, over TCP, is not measured: it tells the file's size and digest, against which every run
is held. Of the sender only what arrives is known, so its CPU, resends and the bytes on the wire are not. Not known
here: what the path does.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from blockstep.protocol.errors import LocalError, TransferFailed
from blockstep.protocol.stream import BLKSIZE_STREAM
from blockstep.transport.dial import SocketAddress, connect_tcp
from blockstep_lab.compare.grid import Order
from blockstep_lab.compare.outcome import Observed, judged
from blockstep_lab.compare.receiving import Received, fetch_one
from blockstep_lab.compare.results import Contender, LinkSpec
from blockstep_lab.compare.separate import here, undisturbed
from blockstep_lab.compare.transfer import Transfer

__all__ = ["Remote", "Server", "remote_link"]

_PATIENCE_S = 30.0
_CONNECT_S = 5.0
_PROBES = 5


@dataclass(frozen=True, slots=True)
class Server:
    """A running server: numeric address, its ports, and the file to ask for."""

    host: str
    udp_port: int
    tcp_port: int
    file_name: str

    def address(self, transport: str) -> SocketAddress:
        """Where it listens for this transport."""
        return self.host, (self.udp_port if transport == "udp" else self.tcp_port)


class Remote:
    """Makes runs against a server. LocalError where it cannot be reached over TCP or does not have the file."""

    carrier = None
    scheduler = None

    def __init__(self, server: Server, *, max_time_s: float) -> None:
        self._server = server
        self._max_time_s = max_time_s
        self._here = here()
        self.rtt_s = _round_trip_s(server)
        first = self._fetch(Transfer(transport="tcp", blksize=BLKSIZE_STREAM, name=server.file_name))
        if first.failure is not None or first.sha256 is None:
            raise LocalError(f"{server.host} does not give {server.file_name!r} over TCP: {first.failure}")
        self.file_bytes, self.sha256 = first.file_bytes, first.sha256

    def run(self, order: Order) -> Observed:
        """One run."""
        contender: Contender = order.contender
        transfer = Transfer(
            transport=contender.transport,
            blksize=contender.blksize,
            windowsize=contender.windowsize or 1,
            name=self._server.file_name,
            max_time_s=self._max_time_s,
        )
        return judged(order, None, self._fetch(transfer), sha256=self.sha256)

    def close(self) -> None:
        """Ends what still runs."""
        self._here.end_everything()

    def _fetch(self, transfer: Transfer) -> Received:
        where = self._server.address(transfer.transport)
        limit_s = transfer.max_time_s + _PATIENCE_S
        received: Received = self._here.call(undisturbed, fetch_one, transfer, where, timeout_s=limit_s)
        return received


def remote_link(server: Server, rtt_s: float) -> LinkSpec:
    """The path to the server, of which we know no more than its round trip."""
    return LinkSpec(
        id="host",
        label=f"the path to {server.host}, round trip {rtt_s * 1000:.3g} ms",
        up="",
        down="",
        loss=None,
        loss_back=None,
        delay_s=None,
        rtt_s=rtt_s,
        rate_bit_s=None,
        regular=False,
    )


def _round_trip_s(server: Server) -> float:
    """The shortest time that TCP took to connect."""
    times_s = []
    for _ in range(_PROBES):
        begun_at = time.monotonic()
        try:
            connect_tcp(server.address("tcp"), timeout_s=_CONNECT_S).close()
        except TransferFailed as failure:
            hint = f"start it there with: blockstep serve --port {server.udp_port} --tcp {server.tcp_port} FOLDER"
            raise LocalError(f"{server.host} port {server.tcp_port} (TCP): {failure}; {hint}") from None
        times_s.append(time.monotonic() - begun_at)
    return min(times_s)
