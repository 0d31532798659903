from __future__ import annotations

import math
import os
from pathlib import Path

import pytest

from blockstep.protocol.errors import ErrorCode, TransferFailed
from blockstep.protocol.options import Agreed
from blockstep.protocol.wire import ErrorPacket
from blockstep.transport.files import FileSource, Sink, sink_at, source_at
from blockstep_client.address import Target, Transport
from blockstep_client.exchange import Matter
from blockstep_client.over_udp import UdpExchange
from blockstep_client.settings import Settings
from support.scripted_server import ScriptedServer, scripted, serve


def matter(server: ScriptedServer, path: str, notes: list[str]) -> Matter:
    return Matter(
        target=Target(Transport.UDP, "127.0.0.1", server.port, path),
        mode="octet",
        settings=Settings(timeout_s=0.2, retries=1),
        expires_at=math.inf,
        note=notes.append,
        progress=lambda _done, _resends: None,
    )


def test_an_exchange_knows_how_far_it_came(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * 5000)
    notes: list[str] = []
    agreed: list[Agreed] = []

    def make_sink(holds: Agreed) -> Sink:
        agreed.append(holds)
        return sink_at(tmp_path / "b", replace=False)

    with scripted(serve(lambda name: FileSource(os.open(tmp_path / name, os.O_RDONLY)), _no_sink)) as server:
        exchange = UdpExchange(matter(server, "a", notes))
        before = (exchange.peer, exchange.agreed, exchange.stats.payload_bytes, exchange.srtt_s, exchange.delivered)
        exchange.get(make_sink)
    assert before == (None, Agreed(), 0, None, False)
    assert (tmp_path / "b").read_bytes() == b"x" * 5000
    assert (exchange.delivered, exchange.stats.payload_bytes) == (True, 5000)
    assert agreed == [exchange.agreed]
    assert exchange.srtt_s is not None
    assert f"{exchange.peer} agreed to blksize 1428, windowsize 16" in notes


def _no_sink(_name: str) -> Sink:
    raise AssertionError("nothing is written here")


def test_a_sink_that_cannot_be_made_ends_it_for_both(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * 5000)

    def make_sink(_holds: Agreed) -> Sink:
        raise ZeroDivisionError

    with scripted(serve(lambda name: FileSource(os.open(tmp_path / name, os.O_RDONLY)), _no_sink)) as server:
        exchange = UdpExchange(matter(server, "a", []))
        with pytest.raises(ZeroDivisionError):
            exchange.get(make_sink)
    assert exchange.peer is not None
    assert not exchange.delivered


def test_a_refusal_is_raised(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x")
    with scripted(lambda conversation: conversation.say(ErrorPacket(ErrorCode.DISK_FULL, "full").to_bytes())) as server:
        exchange = UdpExchange(matter(server, "b", []))
        source = source_at(tmp_path / "a")
        with pytest.raises(TransferFailed, match="full"):
            exchange.put(source)
        source.close()
    assert exchange.peer is None
