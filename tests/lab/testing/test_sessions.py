"""A repeated request against a new one, without sockets: the door's sends are a list."""

from __future__ import annotations

import pytest

from blockstep.protocol.errors import ErrorCode, RemoteError
from blockstep.protocol.options import Agreed
from blockstep.protocol.wire import Data, ErrorPacket, Opcode, Request, ack_bytes, parse_request_untrusted
from blockstep_lab.parties import Plan, served
from blockstep_lab.simnet import SimAddress
from blockstep_lab.testing.expectations import TftpRequest
from blockstep_lab.testing.sessions import Door, Session

CLIENT = ("127.0.0.1", 4000)
REQUEST = Request(Opcode.RRQ, "kernel", "octet").to_bytes()
OTHER = Request(Opcode.RRQ, "initrd", "octet").to_bytes()
CONTENT = bytes(700)
NO_OPTIONS = Agreed(), None


class Stage:
    """A door that serves the same content to everybody."""

    def __init__(self, *, owns_socket: bool) -> None:
        self.said: list[bytes] = []
        self.refusal: RemoteError | ErrorPacket | None = None
        self._owns_socket = owns_socket
        self.door = Door(lambda data, _: self.said.append(data), self._take)

    def _take(self, data: bytes, client: SimAddress, now: float) -> Session | ErrorPacket:
        if isinstance(self.refusal, RemoteError):
            raise self.refusal
        if self.refusal is not None:
            return self.refusal
        request = parse_request_untrusted(data)
        party = served(self.door.send, client, request, plan=Plan(content=CONTENT), granted=NO_OPTIONS, now=now)
        return Session(TftpRequest.of(request, client), data, party, owns_socket=self._owns_socket)

    def hear(self, *packets: bytes, at: float = 0.0) -> None:
        for packet in packets:
            self.door.handle_datagram(packet, CLIENT, at)


@pytest.fixture(params=[True, False], ids=["fresh port", "single port"])
def stage(request: pytest.FixtureRequest) -> Stage:
    return Stage(owns_socket=request.param)


def test_a_request_that_is_repeated_begins_nothing(stage: Stage) -> None:
    stage.hear(REQUEST, REQUEST)
    assert len(stage.door.sessions) == 1


def test_another_request_from_the_same_port_begins_a_transfer(stage: Stage) -> None:
    stage.hear(REQUEST, OTHER)
    assert [session.asked.name for session in stage.door.sessions] == ["kernel", "initrd"]


def test_who_has_answered_and_asks_the_same_has_begun_anew(stage: Stage) -> None:
    stage.hear(REQUEST)
    session = stage.door.sessions[0]
    for number in (1, 2):
        session.party.handle_datagram(ack_bytes(number), CLIENT, 1.0)
    session.over = session.party_is_over
    assert session.end() is None
    assert session.asked.complete
    stage.hear(REQUEST)
    assert len(stage.door.sessions) == 2


def test_on_a_single_port_packets_and_deadlines_reach_the_transfer() -> None:
    stage = Stage(owns_socket=False)
    stage.hear(REQUEST, ack_bytes(1))
    blocks = [Data(1, memoryview(CONTENT[:512])).to_bytes(), Data(2, memoryview(CONTENT[512:])).to_bytes()]
    assert stage.said == blocks
    deadline = stage.door.next_deadline()
    assert deadline is not None
    stage.door.handle_deadline(deadline)
    assert stage.said == [*blocks, blocks[1]]
    assert not stage.door.sessions[0].has_lost_its_client(0.5)
    assert stage.door.sessions[0].has_lost_its_client(2.0)


def test_a_refusal_is_said_from_the_listening_port(stage: Stage) -> None:
    stage.refusal = RemoteError(ErrorCode.OPTION_REFUSED, "no")
    stage.hear(REQUEST)
    stage.refusal = ErrorPacket(1, "not here")
    stage.hear(REQUEST)
    assert stage.said == [ErrorPacket(8, "no").to_bytes(), ErrorPacket(1, "not here").to_bytes()]
    assert stage.door.sessions == []


def test_what_is_no_request_is_nobodys(stage: Stage) -> None:
    stage.hear(ack_bytes(1), b"", b"\0")
    assert stage.said == []
