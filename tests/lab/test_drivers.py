from __future__ import annotations

import pytest

from blockstep.protocol.options import Agreed
from blockstep.protocol.receiver import Receiver
from blockstep.protocol.sender import Sender
from blockstep.protocol.states import Role
from blockstep.protocol.timer import ResendTimer
from blockstep_lab.drivers import ReceiveDriver, SendDriver, cut, ring

CONTENT = bytes(range(256)) * 11


def pair(agreed: Agreed, *, commit: bool = True) -> tuple[SendDriver, ReceiveDriver]:
    sender = Sender(Role.PUT, agreed, ResendTimer(), arena=ring(agreed), now=0.0)
    receiver = Receiver(Role.SERVE_WRITE, agreed, ResendTimer(), now=0.0, opening=b"\0\4\0\0")
    return SendDriver(sender, CONTENT), ReceiveDriver(receiver, commit=commit)


@pytest.mark.parametrize(("blksize", "windowsize"), [(512, 1), (100, 4), (256, 16), (5000, 2)])
@pytest.mark.parametrize("as_burst", [False, True])
def test_two_drivers_that_hear_each_other_move_the_file(blksize: int, windowsize: int, as_burst: bool) -> None:
    agreed = Agreed(blksize=blksize, windowsize=windowsize)
    sending, receiving = pair(agreed)
    out = sending.flush(0.0)
    while not sending.machine.finished:
        if as_burst:
            answers = receiving.take_burst(b"".join(out), blksize + 4, 0.0)
        else:
            answers = [answer for packet in out for answer in receiving.take(packet, 0.0)]
        out = [packet for answer in answers for packet in sending.take(answer, 0.0)]
    assert bytes(receiving.received) == CONTENT
    assert receiving.committed


def test_a_file_that_is_not_on_disk_is_not_acknowledged() -> None:
    sending, receiving = pair(Agreed(blksize=5000), commit=False)
    assert receiving.take(sending.flush(0.0)[0], 0.0) == []
    receiving.commit(1.0)
    assert receiving.flush(1.0) == [b"\0\4\0\1"]


def test_a_deadline_brings_the_packets_again() -> None:
    sending, _ = pair(Agreed(blksize=1000, windowsize=2))
    first = sending.flush(0.0)
    assert sending.expire(sending.machine.next_deadline()) == first


def test_cutting_gives_what_the_kernel_makes_of_a_burst() -> None:
    memory = bytes(range(10))
    assert cut(memory, 0, 10, 4) == [memory[:4], memory[4:8], memory[8:]]
    assert cut(memory, 2, 4, 4) == [memory[2:4]]
