"""The two ends of a transfer as the soak needs them: they crash, their disks take time or fail, their packets have a
checksum.

Decided here: what stands around the machines of `blockstep_lab.parties`. A process that waits for its disk hears
nothing meanwhile, as the real one does not; what has come is there when it is back. A crash is silence: no last word,
no commit afterwards. A packet that was damaged on its way is dropped by its checksum, as UDP does.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass

from blockstep.protocol.errors import End, ErrorCode, TransferFailed
from blockstep.protocol.wire import ErrorPacket
from blockstep_lab.drivers import ReceiveDriver, SendDriver
from blockstep_lab.parties import Client, Party, Plan
from blockstep_lab.simnet import Send, SimAddress

__all__ = ["Fate", "SimClient", "Troubled", "maybe_unsealed", "sealed"]

_CHECKSUM_BYTES = 4


def sealed(send: Send) -> Send:
    """The same way out, with a checksum behind each packet."""
    return lambda data, to: send(data + zlib.crc32(data).to_bytes(_CHECKSUM_BYTES, "big"), to)


def maybe_unsealed(data: bytes) -> bytes | None:
    """The packet, None if it was damaged."""
    packet, checksum = data[:-_CHECKSUM_BYTES], data[-_CHECKSUM_BYTES:]
    return packet if zlib.crc32(packet).to_bytes(_CHECKSUM_BYTES, "big") == checksum else None


@dataclass(frozen=True, slots=True)
class Fate:
    """What will befall one end: when its process is killed, how long its disk takes, whether that fails then."""

    dies_at: float | None = None
    disk_s: float = 0.0
    disk_fails: bool = False


Committed = Callable[[bytes, float], None]


class Troubled:
    """Stands between the network and one end. `on_commit` is told what has reached the disk, and when."""

    def __init__(self, party: Party, fate: Fate, on_commit: Committed) -> None:
        self.party = party
        self.fate = fate
        self.dead = False
        self._on_commit = on_commit
        self._disk_at: float | None = None
        self._backlog: list[tuple[bytes, SimAddress]] = []

    @property
    def finished(self) -> bool:
        """Nothing will come of it any more."""
        return self.dead or self.party.finished

    @property
    def waits_for_its_disk(self) -> bool:
        """And hears nothing meanwhile."""
        return self._disk_at is not None

    def next_deadline(self) -> float | None:
        """The nearest of what is due."""
        if self.finished:
            return None
        own = self._disk_at if self._disk_at is not None else self.party.next_deadline()
        times = [time for time in (own, self.fate.dies_at) if time is not None]
        return min(times, default=None)

    def handle_deadline(self, now: float) -> None:
        """Death, the disk, or what the machine waits for."""
        if self.fate.dies_at is not None and now >= self.fate.dies_at:
            self.die()
        elif self._disk_at is not None:
            self._disk_is_done(now)
        else:
            self.party.handle_deadline(now)
            self._look(now)

    def handle_datagram(self, data: bytes, source: SimAddress, now: float) -> None:
        """Unless it is dead; later if its disk keeps it."""
        if self.finished or (packet := maybe_unsealed(data)) is None:
            return
        if self._disk_at is not None:
            self._backlog.append((packet, source))
            return
        self.party.handle_datagram(packet, source, now)
        self._look(now)

    def die(self) -> None:
        """Killed: nothing is said and nothing is written any more."""
        self.dead = True

    def _look(self, now: float) -> None:
        driver = self.party.driver
        if not isinstance(driver, ReceiveDriver) or driver.committed or driver.machine.finished:
            return
        if driver.receiver.complete:
            self._disk_at = now + self.fate.disk_s
            if not self.fate.disk_s:
                self._disk_is_done(now)

    def _disk_is_done(self, now: float) -> None:
        self._disk_at = None
        self.party.step(self._commit, now)
        backlog, self._backlog = self._backlog, []
        for packet, source in backlog:
            if not self.finished:
                self.party.handle_datagram(packet, source, now)

    def _commit(self, now: float) -> list[bytes]:
        driver = self.party.driver
        assert isinstance(driver, ReceiveDriver)
        if self.fate.disk_fails:
            driver.machine.fail()
            self.party.say([ErrorPacket(ErrorCode.DISK_FULL, "no space").to_bytes()], now)
            raise TransferFailed(End.LOCAL_WRITE, "no space", ErrorCode.DISK_FULL)
        self._on_commit(bytes(driver.received), now)
        driver.commit(now)
        return driver.flush(now)


class SimClient(Troubled):
    """A client of ours. `got` is what it has on its disk, for a read that has come so far."""

    def __init__(self, send: Send, plan: Plan, fate: Fate, *, now: float) -> None:
        self.plan = plan
        self.got: bytes | None = None
        self.client = Client(sealed(send), plan, now=now)
        super().__init__(self.client, fate, self._keep)

    @property
    def succeeded(self) -> bool:
        """It says that the file is whole at its destination."""
        return not self.dead and self.client.delivered_at is not None

    @property
    def sender(self) -> SendDriver | None:
        """Its sending machine, if it has one."""
        driver = self.client.driver
        return driver if isinstance(driver, SendDriver) else None

    def _keep(self, content: bytes, _now: float) -> None:
        self.got = content
