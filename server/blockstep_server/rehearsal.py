"""Transfers before the first one: nobody asked for them and nobody hears of them.

A forked child shares its parent's memory until it writes, and pays for each page that it writes with a copy. The first
calls of a function do write: the interpreter adapts its code to what it meets and fills its caches. Every child would
do that again and throw it away. So the parent goes through some transfers before it has children, and they find it
done: 800 pages instead of 880 for a small file, for 3 ms at the start.

Rules: the real session on real sockets of the loopback, with a file of our own; the peer's packets are sent before the
session begins, so one process can be both sides. No log, no count, no sandbox (that is for good), nothing of the root
that is served. It is a matter of speed only: whatever goes wrong ends the rehearsal, not the server (a transfer that is
asked for will tell what it was), and so does the time.
"""

from __future__ import annotations

import contextlib
import os
import random
import socket
import time
from pathlib import Path
from typing import Final

from blockstep.protocol.wire import Opcode, Request, ack_bytes
from blockstep_server.board import Board, Slot
from blockstep_server.clerk import Service
from blockstep_server.config import ServerConfig
from blockstep_server.listen import Arrival
from blockstep_server.paths import Root
from blockstep_server.reply import open_fresh_port
from blockstep_server.report import Result, TransferRecord
from blockstep_server.session import serve_request
from blockstep_server.telling import Telling
from blockstep_server.udp import blank_record

__all__ = ["rehearse"]

_TIMES: Final = 12
"""CPython 3.11 adapts a function at its eighth call."""

_LIMIT_S: Final = 0.05
_HOST: Final = "127.0.0.1"
_FILE: Final = Path(__file__).with_name("__init__.py")  # a line: one block
_OPTIONS: Final = (
    (("tsize", "0"), ("blksize", "1428")),
    (("tsize", "0"), ("blksize", "1428"), ("windowsize", "16")),
)


def rehearse() -> list[TransferRecord]:
    """Serve ourselves some small files; what became of them, in case somebody wants to know. Takes 50 ms at most."""
    records: list[TransferRecord] = []
    with contextlib.suppress(Exception), Root(_FILE.parent) as root:
        service = Service(ServerConfig(root=root.path, max_time_s=_LIMIT_S), root)
        slot = Board(1).maybe_take()
        until = time.monotonic() + _LIMIT_S
        while len(records) < _TIMES and time.monotonic() < until:
            records.append(_serve_ourselves(service, _OPTIONS[len(records) % len(_OPTIONS)], slot))
            if records[-1].result is Result.FAILED:  # no way through the loopback here
                break
    return records


def _serve_ourselves(service: Service, options: tuple[tuple[str, str], ...], slot: Slot | None) -> TransferRecord:
    request = Request(Opcode.RRQ, _FILE.name, "octet", options).to_bytes()
    with contextlib.ExitStack() as cleanup:
        peer = cleanup.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        peer.bind((_HOST, 0))
        arrival = Arrival(request, peer.getsockname(), _HOST, 0)
        sockets = open_fresh_port(arrival, None, random.SystemRandom())
        cleanup.callback(sockets.close)
        for block in (0, 1):
            peer.sendto(ack_bytes(block), sockets.hot.getsockname())
        telling = Telling(lambda record: record.to_line(os.getpid()), slot)
        record = serve_request(request, sockets, service, blank_record(arrival), telling=telling)
        telling.ended(record)
        return record
