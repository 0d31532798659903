from __future__ import annotations

import socket
from dataclasses import replace
from pathlib import Path

from blockstep.protocol.framing import frame
from blockstep.protocol.wire import Opcode, Request
from blockstep_server.bodies import Bodies
from blockstep_server.clerk import Service
from blockstep_server.config import ServerConfig
from blockstep_server.connection import Connection
from blockstep_server.listen import Arrival
from blockstep_server.paths import Root
from blockstep_server.report import Result, TransferRecord
from blockstep_server.telling import Telling
from blockstep_server.values import PortRange

READ = Request(Opcode.RRQ, "none", "octet", (("blksize", "4096"),)).to_bytes()


def test_a_datagram_is_answered_from_a_fresh_port(tmp_path: Path) -> None:
    told: list[TransferRecord] = []
    with Root(tmp_path) as root, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.bind(("127.0.0.1", 0))
        bodies = Bodies(Service(ServerConfig(root=tmp_path), root))
        arrival = Arrival(READ, client.getsockname(), "127.0.0.1", 69)
        record = bodies.for_datagram(arrival, None)(Telling(told.append))
        client.settimeout(10)
        assert client.recv(100)[:4] == b"\0\5\0\1"
    assert record is not None
    assert (record.result, record.local, told) == (Result.REFUSED, "127.0.0.1:69", [])


def test_a_request_that_nothing_can_answer_is_told_and_no_crash(tmp_path: Path) -> None:
    with Root(tmp_path) as root, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        (_host, port) = taken.getsockname()
        bodies = Bodies(Service(ServerConfig(root=tmp_path, port_range=PortRange(port, port)), root))
        record = bodies.for_datagram(Arrival(READ, ("127.0.0.1", 2070), "127.0.0.1", 69), None)(Telling(print))
    assert record is not None
    assert record.result is Result.FAILED
    assert record.detail == f"not served for want of resources: all ports from {port} to {port} are in use"


def test_a_connection_tells_for_itself_and_keeps_the_service_that_it_was_made_with(tmp_path: Path) -> None:
    told: list[TransferRecord] = []
    (tmp_path / "none").write_bytes(b"x" * 20)
    near, far = socket.socketpair()
    with near, Root(tmp_path) as root:
        service = Service(ServerConfig(root=tmp_path), root)
        bodies = Bodies(service)
        body = bodies.for_connection(Connection(far, TransferRecord(peer="peer", transport="unix")))
        bodies.service = Service(replace(service.config, blksize_max=8), root)
        near.sendall(frame(READ))
        near.shutdown(socket.SHUT_WR)
        assert body(Telling(told.append)) is None
    assert [record.options for record in told] == [{"blksize": 4096}]
