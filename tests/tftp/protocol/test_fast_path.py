"""The fast path against a slow reference: a receiver that is shown bursts and one that is shown segments.

Both get the same datagrams at the same times. Whatever a burst is made of (in order, with gaps, repeated, shuffled, of
another kind, too short, too long, in any stride), both must take the same bytes, answer with the same ACKs, count the
same and want to be called again at the same time.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

from hypothesis import example, given, settings
from hypothesis import strategies as st

from blockstep.protocol.errors import RemoteError, TransferFailed
from blockstep.protocol.numbers import Numbering
from blockstep.protocol.options import Agreed
from blockstep.protocol.receiver import Receiver
from blockstep.protocol.states import Role
from blockstep.protocol.timer import ResendTimer
from blockstep.protocol.wire import ack_bytes
from support.drivers import ReceiveDriver

BLKSIZE = 8
STRIDE = BLKSIZE + 4


class SegmentDriver(ReceiveDriver):
    """The reference: never asks for a burst."""

    def take_burst(self, burst: bytes, stride: int, now: float) -> list[bytes]:
        starts = range(0, len(burst), stride) if burst else [0]
        self._take_one_by_one([burst[start : start + stride] for start in starts], now)
        if self._commit:
            self.commit(now)
        return self.flush(now)


@dataclass(frozen=True)
class Burst:
    """What arrives at once. Blocks are counted from the next one wanted: 0 is that, -1 the one before."""

    offsets: tuple[int, ...]
    last_bytes: int = BLKSIZE
    stride: int = STRIDE
    cut_off: int = 0
    damage: tuple[int, int] | None = None  # (position in the burst, new value of that octet)
    waits_s: float = 0.001

    def to_bytes(self, wanted: int, numbering: Numbering) -> bytes:
        """The burst as it lies in memory; block k is filled with k so that no two are alike."""
        packets = []
        for offset in self.offsets:
            index = max(wanted + offset, 0)
            body = (index * 0x01000193 & 0xFFFFFFFF).to_bytes(4, "big") * (self.stride // 4)
            packets.append(b"\0\3" + numbering.wire(index).to_bytes(2, "big") + body[: self.stride - 4])
        memory = bytearray(b"".join(packets))
        del memory[len(memory) - self.stride + 4 + min(self.last_bytes, self.stride - 4) :]
        del memory[max(len(memory) - self.cut_off, 0) :]
        if self.damage is not None and memory:
            memory[self.damage[0] % len(memory)] = self.damage[1]
        return bytes(memory)


in_order = st.tuples(st.integers(-3, 2), st.integers(1, 8)).map(lambda run: tuple(range(run[0], run[0] + run[1])))
anything = st.lists(st.integers(-6, 9), min_size=1, max_size=8).map(tuple)
bursts = st.builds(
    Burst,
    offsets=st.one_of(in_order, in_order, anything),
    last_bytes=st.sampled_from([BLKSIZE] * 6 + [0, 5, 40]),
    stride=st.sampled_from([STRIDE] * 8 + [4, 5, 8, 11, 13, 20]),
    cut_off=st.sampled_from([0] * 12 + [1, 2, 3, 4, 9, 10, 11, 400]),
    damage=st.none() | st.none() | st.none() | st.tuples(st.integers(0, 400), st.integers(0, 255)),
    waits_s=st.sampled_from([0.0, 0.001, 0.001, 0.3]),
)


@settings(max_examples=600)
@given(
    script=st.lists(st.one_of(bursts, bursts, bursts, st.just("deadline")), max_size=14),
    windowsize=st.sampled_from([1, 2, 4, 8, 64]),
    rollover=st.integers(0, 1),
    role=st.sampled_from([Role.GET, Role.SERVE_WRITE]),
    start=st.sampled_from([1, 1, 65530]),
)
@example(
    script=[Burst((0,)), Burst((-1,)), Burst((0, 1)), Burst((-1,))], windowsize=1, rollover=0, role=Role.GET, start=1
)
@example(script=[Burst((0,), last_bytes=16, stride=20)], windowsize=4, rollover=0, role=Role.GET, start=1)
@example(script=[Burst((0, 1, 2, 3), last_bytes=5, stride=20)], windowsize=4, rollover=0, role=Role.GET, start=1)
@example(script=[Burst((0,), cut_off=400)], windowsize=4, rollover=0, role=Role.GET, start=1)
def test_bursts_and_segments_come_to_the_same(
    script: list[Burst | str], windowsize: int, rollover: int, role: Role, start: int
) -> None:
    agreed = Agreed(blksize=BLKSIZE, windowsize=windowsize, rollover=rollover)
    fast, slow = _started(ReceiveDriver, agreed, role, start), _started(SegmentDriver, agreed, role, start)
    now = 0.0
    for step in script:
        if isinstance(step, Burst):
            now += step.waits_s
            memory = step.to_bytes(fast.receiver._next, fast.receiver.numbering)
            outcomes = [_outcome(driver, memory, step.stride, now) for driver in (fast, slow)]
        else:
            now = max(now, fast.receiver.next_deadline())
            outcomes = [_outcome(driver, None, 0, now) for driver in (fast, slow)]
        assert outcomes[0] == outcomes[1]
        if fast.receiver.finished:
            return


def _started(kind: type[ReceiveDriver], agreed: Agreed, role: Role, start: int) -> ReceiveDriver:
    """A driver that wants block `start` next."""
    opening = ack_bytes(0) if role is Role.SERVE_WRITE else None
    driver = kind(Receiver(role, agreed, ResendTimer(), now=0.0, opening=opening))
    driver.flush(0.0)
    if start > 1:
        memory = bytearray(b"\0\3\0\0AAAAAAAA" * (start - 1))
        memory[2::STRIDE], memory[3::STRIDE] = driver.receiver.numbering.planes(1, start - 1)
        assert driver.receiver.receive_burst(memory, len(memory), STRIDE, 0.0) == start - 1
        driver.flush(0.0)
    return driver


def _outcome(driver: ReceiveDriver, memory: bytes | None, stride: int, now: float) -> dict[str, object]:
    """What the outside can see of a driver after a step."""
    failure = None
    out: list[bytes] = []
    try:
        out = driver.expire(now) if memory is None else driver.take_burst(memory, min(stride, len(memory)), now)
    except (RemoteError, TransferFailed) as error:
        failure = (type(error), error.code, str(error))
    receiver = driver.receiver
    return {
        "out": out,
        "failure": failure,
        "received": bytes(driver.received),
        "stats": asdict(receiver.stats),
        "state": receiver.state,
        "complete": receiver.complete,
        "next deadline": None if receiver.finished else receiver.next_deadline(),
        "srtt": receiver.timer.srtt_s,
    }
