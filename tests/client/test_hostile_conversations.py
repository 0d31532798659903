"""The client against servers that say anything in any order: packets of the right transfer, of the table, and bursts.

Nobody can say what the file is then, as the server decides that. What must hold: the client ends in time with one of
its exit statuses, it leaves nothing but a file, and after a failure that is the one that was there before.
"""

from __future__ import annotations

import random
import socket
import struct
import time
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from blockstep.exits import ExitCode
from blockstep.protocol.errors import ErrorCode
from blockstep.transport.udp import UDP_SEGMENT
from blockstep_client.command import get, put
from support.bad_packets import BLKSIZE, MIDDLE, OPENINGS, WINDOWED, Peer, ack, blocks_of, data, oack
from support.loopback import has_offload
from support.scripted_server import Conversation, scripted

SEEDS = range(30)
QUICK = ["-t", "0.05", "-r", "1"]
ENDS_WITHIN_S = 10.0
CONTENT = random.Random(7).randbytes(11 * BLKSIZE + 7)
BLOCKS = blocks_of(CONTENT)
BAD = [packet for bad in (*MIDDLE.values(), *WINDOWED.values()) for packet in bad.packets]
BAD += [packet for opening in OPENINGS.values() for packet in opening.packets]
GRANTS = (
    (),
    ("blksize", "512"),
    ("windowsize", "4"),
    ("blksize", "8", "windowsize", "16"),
    ("tsize", str(len(CONTENT))),
)
TFTP_ERRORS = {ExitCode.TFTP_ERROR + code for code in ErrorCode}
STATUSES = {ExitCode.OK, ExitCode.REFUSED, ExitCode.LOCAL_WRITE, ExitCode.TIMED_OUT, *TFTP_ERRORS}


def block(number: int) -> bytes:
    """DATA of the transfer, or of its neighbourhood."""
    return data(number, BLOCKS[min(max(number, 1), len(BLOCKS)) - 1])


def one_packet(chance: random.Random) -> bytes:
    """Mostly what is due in some transfer."""
    number = chance.randrange(14)
    if chance.random() < 0.05:
        return chance.choice(BAD)
    return chance.choice([block(number), block(number), ack(number), data(number, b""), data(number, b"x" * 8)])


def one_burst(chance: random.Random) -> tuple[bytes, int]:
    """(segments, their length) for the kernel to cut: blocks in a row, perhaps with something else among them."""
    first, stride = chance.randrange(10), BLKSIZE + 4
    if chance.random() < 0.3:
        stride = chance.choice([4, 12, 300])
        return b"".join(
            (one_packet(chance) * stride + bytes(stride))[:stride] for _ in range(chance.randrange(1, 8))
        ), stride
    numbers = range(first, first + chance.randrange(1, 8))
    odd = [chance.random() < 0.05 for _ in numbers]
    whole = [
        (chance.choice(BAD) + bytes(stride))[:stride] if is_odd else block(min(number, len(BLOCKS) - 1))
        for number, is_odd in zip(numbers, odd, strict=True)
    ]
    return b"".join([*whole, block(len(BLOCKS)) if chance.random() < 0.5 else b""]), stride


def talking(chance: random.Random, granted: tuple[str, ...], first: bytes) -> Callable[[Conversation], None]:
    def script(conversation: Conversation) -> None:
        peer = Peer(conversation.sock, conversation.client)
        peer.say(oack(*granted) if granted else first)
        for _ in range(chance.randrange(1, 60)):
            if chance.random() < 0.4 and has_offload():
                segments, stride = one_burst(chance)
                cut = [(socket.IPPROTO_UDP, UDP_SEGMENT, struct.pack("H", stride))]
                conversation.sock.sendmsg([segments], cut, 0, conversation.client)
            else:
                peer.say(one_packet(chance))

    return script


@pytest.mark.slow
@pytest.mark.parametrize("command", [get, put], ids=["get", "put"])
def test_whatever_a_server_says_in_whatever_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: click.Command
) -> None:
    monkeypatch.chdir(tmp_path)
    for seed in SEEDS:
        chance = random.Random(seed)
        Path("local").write_bytes(CONTENT)
        started_s = time.monotonic()
        with scripted(talking(chance, chance.choice(GRANTS), block(1) if command is get else ack(0))) as server:
            where = ["-o", "local", server.url("x")] if command is get else ["local", server.url("x")]
            result = CliRunner().invoke(command, [*QUICK, *where])
        said = f"seed {seed}: {result.output}"
        assert result.exit_code in STATUSES, said
        assert time.monotonic() - started_s < ENDS_WITHIN_S, said
        assert [path.name for path in tmp_path.iterdir()] == ["local"], said
        assert result.exit_code == 0 or Path("local").read_bytes() == CONTENT, said
        assert result.stderr.replace("\n", "").isprintable(), said
