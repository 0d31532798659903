"""A sender at the end of the numbers and at the end of its patience with the peer."""

from __future__ import annotations

import pytest

from blockstep.protocol.arena import Arena
from blockstep.protocol.errors import TransferFailed
from blockstep.protocol.numbers import Numbering
from blockstep.protocol.options import Agreed
from blockstep.protocol.sender import Sender
from blockstep.protocol.states import Role
from blockstep.protocol.timer import ResendTimer
from blockstep.protocol.wire import ack_bytes
from support.drivers import SendDriver, cut
from support.playbook import OACK, content_of, sending

# The wrap.


@pytest.mark.parametrize("rollover", [0, 1])
@pytest.mark.parametrize("window", [1000, 65535])
def test_numbers_go_on_past_65535(rollover: int, window: int) -> None:
    blocks = 140_000
    agreed = Agreed(blksize=8, windowsize=window, rollover=rollover)
    arena = Arena(min(2 * window, 65535), 8)
    driver = SendDriver(Sender(Role.PUT, agreed, ResendTimer(), arena=arena, now=0.0), content_of(blocks, 5))
    numbering = Numbering(rollover)
    index, now = 0, 0.0
    burst = driver.flush(now)
    while not driver.machine.finished:
        if index > 60_000 and len(burst) > 100 and burst[0][4:8] == (index + 1).to_bytes(4, "big"):
            now += 0.01
            burst = driver.take(ack_bytes(numbering.wire(index + len(burst) // 3)), now)  # a gap on either side of it
            index = int.from_bytes(burst[0][4:8], "big") - 1
        for at in (0, len(burst) // 2, len(burst) - 1):
            assert int.from_bytes(burst[at][2:4], "big") == numbering.wire(index + 1 + at)
        index += len(burst)
        now += 0.01
        burst = driver.take(ack_bytes(numbering.wire(index)), now)
    assert index == blocks
    assert driver.machine.stats.ignored == 0


def test_a_window_is_never_as_long_as_the_numbers_go() -> None:
    # With 65,535 numbers a window of 65,535 could not tell "all of it" from "nothing of it".
    agreed = Agreed(blksize=8, windowsize=65535, rollover=1)
    driver = SendDriver(Sender(Role.PUT, agreed, ResendTimer(), arena=Arena(65535, 8), now=0.0), bytes(8 * 70_000))
    assert len(driver.flush(0.0)) == 65534


# What a peer may not do.


@pytest.mark.parametrize(
    ("role", "packet", "outcome"),
    [
        (Role.PUT, "DATA 1", "!! RemoteError 4"),
        (Role.SERVE_READ, "DATA 1", "!! RemoteError 4"),
        (Role.PUT, "REQUEST", "!! RemoteError 4"),
        (Role.SERVE_READ, "OACK", "!! RemoteError 4"),
        (Role.PUT, "ERROR", "!! TransferFailed PEER_ERROR"),
        (Role.SERVE_READ, "ERROR", "!! TransferFailed PEER_ERROR"),
        (Role.PUT, "RAW 0007", "!! RemoteError 4"),
        (Role.PUT, "RAW 000400", "!! RemoteError 4"),
        (Role.PUT, "RAW", "!! RemoteError 4"),
        (Role.PUT, "RAW 00", "!! RemoteError 4"),
        (Role.PUT, "RAW 01040001", "!! RemoteError 4"),
    ],
)
@pytest.mark.parametrize("offered", [False, True])
def test_what_ends_a_transfer(role: Role, packet: str, outcome: str, offered: bool) -> None:
    opening = OACK if offered and role is Role.SERVE_READ else None
    sending(content_of(2, 5), role=role, opening=opening).play(f"""
        -> {"OACK" if opening else "DATA 1"}
        <- {packet}
        {outcome}
        == failed
        <- ACK 1
        !! LocalError
        <- {packet}
        !! LocalError
        -- deadline
        !! LocalError
    """)


def test_the_peers_words_are_escaped_and_its_code_is_kept() -> None:
    driver = sending(content_of(2, 5)).driver
    with pytest.raises(TransferFailed) as caught:
        driver.take(b"\0\5\0\3disk \x1b[31mfull\0", 0.0)
    assert (caught.value.code, caught.value.detail) == (3, "disk \\x1b[31mfull")


def test_an_ack_with_padding_is_an_ack() -> None:
    sending(content_of(2, 5)).play("""
        -> DATA 1
        <- RAW 000400010000
        -> DATA 2
    """)


def test_a_finished_sender_has_nothing_to_say() -> None:
    play = sending(content_of(1, 5))
    play.play("""
        -> DATA 1
        <- ACK 1
        == done
        <- ACK 1
        !! LocalError
        -- deadline
        !! LocalError
    """)
    assert play.driver.flush(200.0) == []


def test_after_a_failure_of_the_driver_nothing_goes_out() -> None:
    driver = sending(content_of(9, 5), 4, role=Role.SERVE_READ, opening=OACK).driver
    driver.machine.fail()
    assert driver.flush(100.0) == []


def test_progress_is_told_in_bytes_of_the_file() -> None:
    play = sending(content_of(3, 5), 2)
    assert isinstance(play.driver, SendDriver)
    sender, seen = play.driver.sender, []
    for script in ("-> DATA 1 2", "<- ACK 1\n-> DATA 2 3", "<- ACK 3\n== done"):
        play.play(script)
        seen.append(sender.stats.payload_bytes)
    assert seen == [0, 8, 21]


def test_a_cut_burst_is_what_the_kernel_sends() -> None:
    assert cut(b"aaabbbcc", 0, 8, 3) == [b"aaa", b"bbb", b"cc"]
