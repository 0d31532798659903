"""The real machines with a file in memory instead of one on disk and lists of packets instead of sockets.

A driver does what the pump does and nothing else: it loads, sends what is due, writes what is accepted, settles. Every
call returns the datagrams that went out because of it. Time is whatever the caller says.
"""

from __future__ import annotations

from blockstep.protocol.arena import HEADER_BYTES, Arena
from blockstep.protocol.errors import LocalError
from blockstep.protocol.machine import Machine
from blockstep.protocol.options import Agreed
from blockstep.protocol.receiver import Receiver
from blockstep.protocol.sender import Sender
from blockstep.protocol.wire import ack_bytes

__all__ = ["Driver", "ReceiveDriver", "SendDriver", "cut", "ring"]


def ring(agreed: Agreed, slots: int | None = None) -> Arena:
    """An arena for this sender: two windows, as small as a ring may be that never makes the peer wait."""
    return Arena(slots or 2 * agreed.windowsize, agreed.blksize)


def cut(memory: bytes | bytearray, start: int, end: int, stride: int) -> list[bytes]:
    """The datagrams that the kernel makes of a burst."""
    if end - start <= stride:
        return [bytes(memory[start:end])]
    return [bytes(memory[at : min(at + stride, end)]) for at in range(start, end, stride)]


class Driver:
    """What both directions share."""

    def __init__(self, machine: Machine) -> None:
        self.machine: Machine = machine

    def flush(self, now: float) -> list[bytes]:
        """Everything that is due."""
        packet = self.machine.poll_opening(now)
        return [] if packet is None else [packet]

    def take(self, datagram: bytes, now: float) -> list[bytes]:
        """One datagram has come."""
        raise NotImplementedError

    def expire(self, now: float) -> list[bytes]:
        """The deadline of the machine has come."""
        self.machine.handle_deadline(now)
        return self.flush(now)


class SendDriver(Driver):
    """Sends `content`; `limit` is how many segments one send call takes, `load_blocks` how many one read fills."""

    def __init__(self, sender: Sender, content: bytes, *, limit: int = 64, load_blocks: int = 65535) -> None:
        super().__init__(sender)
        self.sender = sender
        self.content = content
        self._limit = limit
        self._load_blocks = load_blocks
        self._offset = 0

    @property
    def in_last_window(self) -> bool:
        """All that came before the last window has been acknowledged by a peer that has answered."""
        machine = self.sender
        rest = len(self.content) - machine.stats.payload_bytes
        return machine.proven and rest < machine.agreed.windowsize * machine.agreed.blksize

    def flush(self, now: float) -> list[bytes]:
        out = super().flush(now)
        sender = self.sender
        while True:
            while (run := sender.poll_send(now, self._limit)) is not None:
                out += cut(sender.arena.memory, *run, sender.arena.stride)
            if sender.finished or not sender.wants_load:
                return out
            self._load()

    def _load(self) -> None:
        sender = self.sender
        slot, count = sender.room()
        if count < 1 or slot + count > sender.arena.slots:
            raise LocalError(f"the sender wants a load but has room {slot}, {count}")
        count = min(count, self._load_blocks)
        got = 0
        for view in sender.arena.payloads[slot : slot + count]:
            part = self.content[self._offset : self._offset + len(view)]
            view[: len(part)] = part
            self._offset += len(part)
            got += len(part)
        sender.loaded(slot, count, got)

    def take(self, datagram: bytes, now: float) -> list[bytes]:
        self.sender.handle_datagram(memoryview(datagram), now)
        return self.flush(now)


class ReceiveDriver(Driver):
    """Collects what arrives in `received`. `commit` turns False into a file that takes its time to reach the disk."""

    def __init__(self, receiver: Receiver, *, commit: bool = True) -> None:
        super().__init__(receiver)
        self.receiver = receiver
        self.received = bytearray()
        self.committed = False
        self._commit = commit

    def flush(self, now: float) -> list[bytes]:
        out = super().flush(now)
        wire = self.receiver.poll_ack(now)
        if wire is not None:
            out.append(ack_bytes(wire))
        return out

    def take(self, datagram: bytes, now: float) -> list[bytes]:
        return self.take_burst(datagram, len(datagram), now)

    def take_burst(self, burst: bytes, stride: int, now: float) -> list[bytes]:
        """A burst as UDP_GRO delivers it: segments `stride` apart, the last may be shorter."""
        memory = bytearray(burst)
        got = len(burst)
        count = self.receiver.receive_burst(memory, got, stride, now)
        if count == 1:
            self.received += memory[HEADER_BYTES:]
        elif count:
            for segment in cut(memory, 0, got, stride):
                self.received += segment[HEADER_BYTES:]
        else:
            self._take_one_by_one(cut(memory, 0, got, stride) if got else [b""], now)
        if self._commit and self.receiver.complete:
            self.commit(now)
        return self.flush(now)

    def _take_one_by_one(self, segments: list[bytes], now: float) -> None:
        for segment in segments:
            for payload in self.receiver.receive_segment(memoryview(segment), now):
                self.received += payload
            if self.receiver.finished:
                return

    def commit(self, now: float) -> None:
        """The file is on disk, if it is whole."""
        if self.receiver.complete and not self.receiver.finished and not self.receiver.delivered:
            self.committed = True
            self.receiver.settled(now)
