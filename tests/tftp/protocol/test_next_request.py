"""A sender on a port that all transfers of a server share, whose peer asks again before the transfer has ended."""

from __future__ import annotations

import pytest

from blockstep.protocol.errors import End, TransferFailed
from blockstep.protocol.sender import Sender
from blockstep.protocol.states import Role
from blockstep.protocol.wire import Opcode, Request
from support.playbook import content_of, sending


def test_on_a_shared_port_another_request_ends_what_has_been_sent_to_its_end() -> None:
    ours, other = (Request(Opcode.RRQ, name, "octet").to_bytes() for name in ("file", "other"))
    play = sending(content_of(2, 5), role=Role.SERVE_READ)
    sender = play.driver.machine
    assert isinstance(sender, Sender)
    sender.request = ours
    play.play("""
        -> DATA 1
    """)
    sender.handle_datagram(memoryview(other), 0.0)
    assert (sender.finished, sender.next_request) == (False, b""), "there is more to come"
    play.play("""
        <- ACK 1
        -> DATA 2
    """)
    sender.handle_datagram(memoryview(ours), 0.0)
    assert not sender.finished
    with pytest.raises(TransferFailed) as caught:
        sender.handle_datagram(memoryview(other), 0.0)
    assert caught.value.end is End.PEER_GONE
    assert (sender.finished, sender.next_request) == (True, other)
