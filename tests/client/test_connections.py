from __future__ import annotations

import math
import socket
import time
from pathlib import Path

import pytest

from blockstep.protocol.errors import End, LocalError, TransferFailed
from blockstep_client import connections as module
from blockstep_client.address import Target, Transport
from blockstep_client.connections import Connections
from blockstep_client.errors import CannotResolve, NotTrusted
from blockstep_client.resolve import Address
from blockstep_client.settings import Settings
from support.stream_folder import stream_folder
from support.streams import certificates


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "folder"
    folder.mkdir()
    return folder


def connections(**known: object) -> Connections:
    return Connections(Settings(timeout_s=2.0, retries=0, **known), lambda _note: None)  # type: ignore[arg-type]


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port: int = sock.getsockname()[1]
        return port


@pytest.mark.parametrize("transport", [Transport.TCP, Transport.UNIX])
def test_a_connection_is_kept_for_the_files_that_follow(folder: Path, transport: Transport) -> None:
    with stream_folder(folder, transport) as server, connections() as kept:
        first = kept.to(server.target("a"), math.inf)
        second = kept.to(server.target("b"), math.inf)
        assert (first.used, second.used) == (False, True)
        assert first.stream is second.stream
        first.stream.close()
        third = kept.to(server.target("a"), math.inf)
        assert third.stream is not first.stream
        assert not third.used
    assert not third.stream.usable, "closed at the end"


def test_two_servers_have_two_connections(folder: Path) -> None:
    with (
        stream_folder(folder, Transport.TCP) as one,
        stream_folder(folder, Transport.UNIX) as two,
        connections() as kept,
    ):
        assert kept.to(one.target("a"), math.inf).stream is not kept.to(two.target("a"), math.inf).stream


def test_every_address_is_tried(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with stream_folder(folder, Transport.TCP) as server, connections() as kept:
        ports = (closed_port(), server.target("").port)
        addresses = [Address(socket.AF_INET, ("127.0.0.1", port)) for port in ports]
        monkeypatch.setattr(module, "resolve", lambda *_args: addresses)
        assert kept.to(server.target("a"), math.inf).peer == f"127.0.0.1:{ports[1]}"


def test_nobody_there() -> None:
    with connections() as kept:
        for target in (Target(Transport.TCP, "127.0.0.1", closed_port(), "a"), Target(Transport.UNIX, "/no/s", 0, "a")):
            with pytest.raises(TransferFailed) as caught:
                kept.to(target, math.inf)
            assert caught.value.end is End.PEER_GONE
        with pytest.raises(CannotResolve):
            kept.to(Target(Transport.TCP, "x" * 70, 69, "a"), math.inf)


def test_no_time_is_left() -> None:
    with connections() as kept, pytest.raises(TransferFailed) as caught:
        kept.to(Target(Transport.TCP, "127.0.0.1", closed_port(), "a"), time.monotonic() - 1)
    assert caught.value.end is End.MAX_TIME


def test_tls_takes_the_host_at_its_word(folder: Path) -> None:
    made = certificates()
    with stream_folder(folder, Transport.TLS) as server:
        with connections(cafile=made.certificate("ca")) as kept:
            assert kept.to(server.target("a"), math.inf).stream.usable
        with connections() as kept, pytest.raises(NotTrusted, match="not trusted"):
            kept.to(server.target("a"), math.inf)
        with connections(cafile=folder / "missing") as kept, pytest.raises(LocalError, match="cannot be read"):
            kept.to(server.target("a"), math.inf)
