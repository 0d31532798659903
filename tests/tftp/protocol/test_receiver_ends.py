"""A receiver at the end of the numbers and at the end of its patience with the peer."""

from __future__ import annotations

from random import Random

import pytest

from blockstep.protocol.errors import LocalError
from blockstep.protocol.numbers import Numbering
from blockstep.protocol.options import Agreed
from blockstep.protocol.receiver import EARLY_BYTES, EARLY_OVERHEAD_BYTES, Receiver
from blockstep.protocol.states import Role
from blockstep.protocol.timer import ResendTimer
from blockstep.protocol.wire import ack_bytes
from support.drivers import ReceiveDriver
from support.playbook import OACK, block, content_of, received, receiving

RECEIVERS = [Role.GET, Role.SERVE_WRITE]


# The wrap.


@pytest.mark.parametrize("rollover", [0, 1])
def test_numbers_go_on_past_65535(rollover: int) -> None:
    window, blocks = 1000, 140_000
    play = receiving(window, rollover=rollover)
    driver, numbering = play.driver, Numbering(rollover)
    assert isinstance(driver, ReceiveDriver)
    content = content_of(blocks, 5)
    stream = b"".join(
        b"\0\3" + numbering.wire(index).to_bytes(2, "big") + content[(index - 1) * 8 : index * 8]
        for index in range(1, blocks + 1)
    )
    index, now = 0, 0.0
    while index < blocks:
        now += 0.01
        part = stream[index * 12 : (index + window) * 12]
        if index // 1000 in (65, 66, 131):  # a gap on both sides of the wrap and on the wrap
            assert driver.take_burst(part[:6000] + part[6012:], 12, now) == [ack_bytes(numbering.wire(index + 500))]
            index += 500
            now += 0.01
            part = stream[index * 12 : (index + window) * 12]
        index = min(index + window, blocks)
        assert driver.take_burst(part, 12, now) == [ack_bytes(numbering.wire(index))]
    assert driver.received == content
    assert driver.machine.stats.ignored == 0
    assert driver.machine.stats.blocks == blocks


def test_what_came_early_is_drained_across_the_wrap() -> None:
    play = receiving(32)
    driver = play.driver
    assert isinstance(driver, ReceiveDriver)
    content = content_of(65_550, 5)
    numbering = Numbering(0)
    packets = [
        b"\0\3" + numbering.wire(index).to_bytes(2, "big") + content[(index - 1) * 8 : index * 8]
        for index in range(1, 65_551)
    ]
    assert driver.take_burst(b"".join(packets[:65_530]), 12, 0.0) == [ack_bytes(65_530)]
    for packet in packets[65_531:]:
        driver.take(packet, 0.1)
    driver.take(packets[65_530], 0.2)
    assert driver.received == content


# What a peer may not do.


def test_a_hostile_sender_makes_it_keep_less_than_a_window() -> None:
    receiver = Receiver(Role.GET, Agreed(blksize=8, windowsize=16), ResendTimer(), now=0.0)
    chance = Random(5)
    for step in range(20_000):
        index = chance.choice([chance.randrange(2, 65_536), chance.randrange(2, 40)])
        assert not receiver.receive_segment(memoryview(block(index)), step / 1000)
        receiver.poll_ack(step / 1000)
        assert len(receiver._early) <= 15
    assert set(receiver._early) <= set(range(2, 17))


@pytest.mark.parametrize("blksize", [8, 1428, 65464])
def test_what_is_kept_is_bounded_in_bytes_too(blksize: int) -> None:
    receiver = Receiver(Role.GET, Agreed(blksize=blksize, windowsize=65535), ResendTimer(), now=0.0)
    packet = bytearray(b"\0\3\0\0" + bytes(blksize))
    for index in range(2, 30_000):
        packet[2:4] = index.to_bytes(2, "big")
        receiver.receive_segment(memoryview(packet), 0.0)
    kept = sum(len(payload) for payload in receiver._early.values())
    assert 0 < kept <= EARLY_BYTES - EARLY_OVERHEAD_BYTES * len(receiver._early)
    assert EARLY_BYTES <= 8 * 1024 * 1024


@pytest.mark.parametrize(
    ("packet", "outcome"),
    [
        ("DATA 1:16", "!! RemoteError 4"),
        ("DATA 2:16", "!! RemoteError 4"),
        ("ACK 0", "!! RemoteError 4"),
        ("ERROR", "!! TransferFailed PEER_ERROR"),
        ("RAW 0007", "!! RemoteError 4"),
        ("RAW 000300", "!! RemoteError 4"),
        ("RAW", "!! RemoteError 4"),
        ("RAW 00", "!! RemoteError 4"),
        ("RAW 0103000141", "!! RemoteError 4"),
    ],
)
@pytest.mark.parametrize("role", RECEIVERS)
def test_what_ends_a_transfer(role: Role, packet: str, outcome: str) -> None:
    play = receiving(role=role, opening=OACK if role is Role.SERVE_WRITE else None)
    play.driver.flush(play.now)
    play.play(f"""
        <- {packet}
        {outcome}
        == failed
        <- DATA 1
        !! LocalError
        <- {packet}
        !! LocalError
        -- deadline
        !! LocalError
    """)
    assert received(play) == b""


@pytest.mark.parametrize(("role", "packet"), [(Role.GET, "REQUEST"), (Role.SERVE_WRITE, "OACK")])
def test_packets_of_the_other_side_end_a_transfer(role: Role, packet: str) -> None:
    play = receiving(role=role, opening=OACK if role is Role.SERVE_WRITE else None)
    play.driver.flush(play.now)
    play.play(f"""
        <- {packet}
        !! RemoteError 4
        == failed
    """)


def test_a_failure_behind_good_blocks_of_a_burst_keeps_them() -> None:
    play = receiving(4)
    play.play("""
        <- DATA 1, 2
        <- RAW 00040001
        !! RemoteError 4
        == failed
    """)
    assert len(received(play)) == 16
    assert play.driver.flush(play.now) == []


def test_settling_twice_or_too_early_is_our_own_mistake() -> None:
    receiver = Receiver(Role.GET, Agreed(blksize=8), ResendTimer(), now=0.0)
    with pytest.raises(LocalError):
        receiver.settled(0.0)
    receiver.receive_segment(memoryview(block(1, 5)), 0.0)
    receiver.settled(0.0)
    with pytest.raises(LocalError):
        receiver.settled(0.0)


def test_nothing_is_settled_after_a_failure() -> None:
    receiver = Receiver(Role.GET, Agreed(blksize=8), ResendTimer(), now=0.0)
    receiver.receive_segment(memoryview(block(1, 5)), 0.0)
    receiver.fail()
    with pytest.raises(LocalError):
        receiver.settled(0.0)
    assert receiver.poll_ack(0.0) is None
