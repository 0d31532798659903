"""A transfer in datagrams: the request to the server's port, the blocks to wherever the answer came from."""

from __future__ import annotations

import time

from blockstep.protocol.errors import End, TransferFailed
from blockstep.protocol.machine import Machine, TransferStats
from blockstep.protocol.options import Agreed
from blockstep.protocol.receiver import Receiver
from blockstep.protocol.sender import Sender
from blockstep.protocol.states import Role
from blockstep.protocol.wire import Opcode
from blockstep.transport.client import Opened
from blockstep.transport.files import Source, Unsteady
from blockstep.transport.pump import Pump, error_packet, ring_for, run_receiver, run_sender
from blockstep_client.approach import Approach
from blockstep_client.exchange import MakeSink, Matter
from blockstep_client.resolve import Address
from blockstep_client.settings import BLKSIZE_DEFAULT

__all__ = ["UdpExchange"]

# How often `--max-time` is looked at while nothing comes to be sent.
_PAUSE_S = 0.1


class UdpExchange:
    """An `exchange.Exchange` over UDP."""

    def __init__(self, matter: Matter) -> None:
        self.peer: str | None = None
        self._matter = matter
        self._machine: Machine | None = None

    @property
    def agreed(self) -> Agreed:
        """What holds."""
        return self._machine.agreed if self._machine else Agreed()

    @property
    def stats(self) -> TransferStats:
        """What has moved."""
        return self._machine.stats if self._machine else TransferStats()

    @property
    def srtt_s(self) -> float | None:
        """The smoothed round trip time."""
        return self._machine.timer.srtt_s if self._machine else None

    @property
    def delivered(self) -> bool:
        """True when the file is whole, also while we still stay for a lost ACK."""
        return self._machine is not None and self._machine.delivered

    def get(self, make_sink: MakeSink) -> None:
        """Fetch the file."""
        opened = self._open(Opcode.RRQ, tsize=0)
        try:
            opening = opened.opening
            try:
                sink = make_sink(opening.agreed)
            except BaseException as failure:
                opened.endpoint.send(error_packet(failure) or b"")
                raise
            receiver = Receiver(
                Role.GET, opening.agreed, opening.timer, now=time.monotonic(), first_ack=opening.by_oack
            )
            run_receiver(self._pump(opened, receiver), receiver, sink, opened.first)
        finally:
            opened.endpoint.close()

    def put(self, source: Source) -> None:
        """Send the file."""
        self._await_input(source)
        opened = self._open(Opcode.WRQ, tsize=source.size_bytes)
        try:
            opening = opened.opening
            arena = ring_for(opening.agreed, source.size_bytes)
            sender = Sender(Role.PUT, opening.agreed, opening.timer, arena=arena, now=time.monotonic())
            run_sender(self._pump(opened, sender), sender, source)
        finally:
            opened.endpoint.close()

    def _await_input(self, source: Source) -> None:
        """A server that has agreed waits for the first block for some seconds only: have one before it is asked."""
        blksize = self._matter.settings.blksize
        first_bytes = blksize if isinstance(blksize, int) else BLKSIZE_DEFAULT
        while isinstance(source, Unsteady) and source.ready_bytes(first_bytes, _PAUSE_S) < first_bytes:
            if time.monotonic() >= self._matter.expires_at:
                raise TransferFailed(End.MAX_TIME, "there was nothing to send in time")

    def _open(self, opcode: Opcode, *, tsize: int | None) -> Opened:
        matter = self._matter
        approach = Approach(
            opcode=opcode,
            target=matter.target,
            mode=matter.mode,
            tsize=tsize,
            settings=matter.settings,
            expires_at=matter.expires_at,
            note=matter.note,
        )
        opened = approach.open()
        sock = opened.endpoint.sock
        self.peer = str(Address(sock.family, sock.getpeername()))
        return opened

    def _pump(self, opened: Opened, machine: Machine) -> Pump:
        self._machine = machine
        matter, agreed = self._matter, machine.agreed
        matter.note(f"{self.peer} agreed to blksize {agreed.blksize}, windowsize {agreed.windowsize}")
        return Pump(opened.endpoint, machine, progress=matter.progress, max_time_s=matter.left_s())
