"""Which address is asked, and what is tried next. The servers are real; only the resolver's answer is made up."""

from __future__ import annotations

import math
import socket
from collections.abc import Callable

import pytest

from blockstep.protocol.errors import End, ErrorCode, TransferFailed
from blockstep.protocol.wire import Data, ErrorPacket, Opcode
from blockstep_client import approach, in_turn
from blockstep_client.address import Target, Transport
from blockstep_client.approach import Approach
from blockstep_client.resolve import Address
from blockstep_client.settings import Settings
from support.scripted_server import Conversation, scripted

QUICK = Settings(timeout_s=0.05, retries=1)


@pytest.fixture
def resolves_to(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    def set_addresses(*ports: int) -> None:
        addresses = [Address(socket.AF_INET, ("127.0.0.1", port)) for port in ports]
        monkeypatch.setattr(approach, "resolve", lambda *_args: addresses)
        monkeypatch.setattr(in_turn, "NEXT_AFTER_S", 0.1)

    return set_addresses


def approached(notes: list[str]) -> str:
    """The first packet of who answered."""
    target = Target(Transport.UDP, "made-up", 69, "a")
    opened = Approach(
        opcode=Opcode.RRQ,
        target=target,
        mode="octet",
        tsize=0,
        settings=QUICK,
        expires_at=math.inf,
        note=notes.append,
    ).open()
    opened.endpoint.close()
    assert opened.opening.timer.give_up_s == QUICK.give_up_s, "the transfer has all the time, whoever answered"
    return opened.first.decode("latin-1")


def answer(conversation: Conversation) -> None:
    conversation.send(Data(1, memoryview(b"here")).to_bytes())


def refuse(conversation: Conversation) -> None:
    conversation.send(ErrorPacket(ErrorCode.FILE_NOT_FOUND, "gone").to_bytes())


def silence(conversation: Conversation) -> None:
    """Says nothing."""


def closed_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def test_a_closed_port_and_a_silent_server_lead_to_the_next_address(resolves_to: Callable[..., None]) -> None:
    notes: list[str] = []
    with scripted(silence) as silent, scripted(answer) as there:
        resolves_to(closed_port(), silent.port, there.port)
        assert approached(notes).endswith("here")
    told = "\n".join(notes)
    assert "no server listens there" in told
    assert "no answer for" in told


def test_an_answer_is_an_answer_even_if_it_is_no(resolves_to: Callable[..., None]) -> None:
    with scripted(refuse) as first, scripted(answer) as second:
        resolves_to(first.port, second.port)
        with pytest.raises(TransferFailed, match="gone"):
            approached([])
        assert second.requests == []


def test_the_last_address_says_how_it_ended(resolves_to: Callable[..., None]) -> None:
    with scripted(silence) as silent:
        resolves_to(closed_port(), silent.port)
        with pytest.raises(TransferFailed) as caught:
            approached([])
    assert caught.value.end is End.TIMED_OUT
