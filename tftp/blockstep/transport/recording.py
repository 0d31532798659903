"""What sockets carry, written to a capture as it happens: the tap behind `--pcap`.

Decided here: a burst is recorded as the single datagrams that it is on the wire, all with the time of the call; what is
sent is recorded before the call, so that a peer's capture on the same clock never shows an answer before its question.
Without a capture none of this exists: `udp.Endpoint` stays as it is, and `RecordingEndpoint` is made instead of it.
"""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from blockstep.transport.udp import Endpoint

if TYPE_CHECKING:  # who wants a capture has imported it
    from blockstep.transport.pcapng_writer import PcapngWriter

__all__ = ["Recorder", "RecordingEndpoint", "endpoint_for"]

SocketAddress = tuple[str, int] | tuple[str, int, int, int]


def endpoint_for(
    sock: socket.socket, stray_sock: socket.socket | None = None, recorder: Recorder | None = None
) -> Endpoint:
    """An endpoint, recorded if there is a recorder."""
    return Endpoint(sock, stray_sock) if recorder is None else RecordingEndpoint(sock, stray_sock, recorder=recorder)


class Recorder:
    """Notes datagrams in `writer`, which stays its owner's to close. `clock_ns` tells nanoseconds since the epoch."""

    def __init__(self, writer: PcapngWriter, *, clock_ns: Callable[[], int] = time.time_ns) -> None:
        self.writer = writer
        self._clock_ns = clock_ns
        self._routes: dict[SocketAddress, str] = {}

    def note(
        self, source: SocketAddress, destination: SocketAddress, view: bytes | bytearray | memoryview, stride: int = 0
    ) -> None:
        """One datagram, or with a `stride` the segments of a burst, of which only the last may be shorter."""
        now_ns = self._clock_ns()
        view = memoryview(view)
        size = len(view)
        if stride <= 0 or size <= stride:
            self.writer.write(now_ns, source, destination, view)
            return
        for start in range(0, size, stride):
            self.writer.write(now_ns, source, destination, view[start : start + stride])

    def sent(self, sock: socket.socket, destination: SocketAddress, packet: bytes, *, comment: str = "") -> None:
        """`packet` is about to leave `sock`, which need not be bound to an address."""
        self.writer.write(self._clock_ns(), self._local(sock, destination), destination, packet, comment=comment)

    def received(
        self, sock: socket.socket, source: SocketAddress, packet: bytes | memoryview, *, comment: str = ""
    ) -> None:
        """`packet` has arrived at `sock`, which need not be bound to an address."""
        self.writer.write(self._clock_ns(), source, self._local(sock, source), packet, comment=comment)

    def _local(self, sock: socket.socket, peer: SocketAddress) -> SocketAddress:
        """Where `sock` is, as `peer` sees it."""
        host, port = sock.getsockname()[:2]
        if host not in ("0.0.0.0", "::"):
            return host, port
        if peer not in self._routes:
            self._routes[peer] = _route_to(sock.family, peer) or host
        return self._routes[peer], port


def _route_to(family: int, peer: SocketAddress) -> str | None:
    """The address that this machine uses towards `peer`: a connect decides it and sends nothing."""
    with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.connect(peer)
        return str(probe.getsockname()[0])
    return None


class RecordingEndpoint(Endpoint):
    """An `Endpoint` whose datagrams, strays and the answers to them included, are noted by `recorder`."""

    def __init__(
        self,
        sock: socket.socket,
        stray_sock: socket.socket | None = None,
        *,
        offload: bool = True,
        recorder: Recorder,
    ) -> None:
        super().__init__(sock, stray_sock, offload=offload)
        self._recorder = recorder
        self._here: SocketAddress = sock.getsockname()

    def send(self, packet: bytes | bytearray | memoryview) -> None:
        """As `Endpoint.send`."""
        self._recorder.note(self._here, self._peer, packet)
        super().send(packet)

    def send_burst(self, view: memoryview, start: int, end: int) -> None:
        """As `Endpoint.send_burst`; whether the kernel or we cut it makes no difference on the wire."""
        self._recorder.note(self._here, self._peer, view[start:end], self.stride)
        super().send_burst(view, start, end)

    def _receive(self, memory: bytearray, flags: int) -> tuple[int, int] | None:
        received = super()._receive(memory, flags)
        if received is not None:
            got, stride = received
            self._recorder.note(self._peer, self._here, memoryview(memory)[:got], stride)
        elif not flags:
            self._recorder.writer.flush()  # nothing has come for some milliseconds: time enough
        return received

    def _answer_stray(self, _datagram: bytes, sender: tuple[str, int], answer: bytes) -> None:
        self._recorder.note(sender, self._here, _datagram)
        if answer:
            self._recorder.note(self._here, sender, answer)
        super()._answer_stray(_datagram, sender, answer)

    def close(self) -> None:
        """As `Endpoint.close`; what was noted is handed to the kernel."""
        self._recorder.writer.flush()
        super().close()
