from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blockstep.protocol.wire import ErrorPacket, Opcode, OptionAck, Request, ack_bytes
from blockstep_lab.describing import describe_untrusted


@pytest.mark.parametrize(
    ("packet", "text"),
    [
        (Request(Opcode.RRQ, "kernel", "octet", (("blksize", "1428"),)).to_bytes(), "RRQ 'kernel' octet blksize=1428"),
        (b"\0\3\0\7abc", "DATA 7 (3)"),
        (ack_bytes(7), "ACK 7"),
        (ErrorPacket(1, "no \x1b[31mfile").to_bytes(), r"ERROR 1 no \x1b[31mfile"),
        (OptionAck((("tsize", "9"),)).to_bytes(), "OACK tsize=9"),
        (b"", "0 octets (packet without an opcode)"),
    ],
)
def test_each_packet_has_its_words(packet: bytes, text: str) -> None:
    assert describe_untrusted(packet) == text


def test_the_beginning_of_a_datagram_is_enough() -> None:
    assert describe_untrusted(b"\0\3\0\7abc", 516) == "DATA 7 (512)"
    assert describe_untrusted(b"\0\1kern", 200) == "200 octets"


@given(st.binary(max_size=600))
def test_any_datagram_gives_one_short_printable_line(packet: bytes) -> None:
    text = describe_untrusted(packet)
    assert text.isprintable()
    assert len(text) < 200
