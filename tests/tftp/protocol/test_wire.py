"""Packets: exact vectors, everything malformed in its own row, and fuzzing: a value or RemoteError, nothing else."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from blockstep.protocol.errors import ErrorCode, LocalError, RemoteError
from blockstep.protocol.wire import (
    ERROR_TEXT_LARGEST,
    REQUEST_LARGEST,
    REQUEST_LARGEST_ACCEPTED,
    Ack,
    Data,
    ErrorPacket,
    Opcode,
    OptionAck,
    Packet,
    Request,
    ack_bytes,
    parse_request_untrusted,
    parse_untrusted,
    printable_untrusted,
)

VECTORS: list[tuple[bytes, Packet]] = [
    (b"\0\1boot.bin\0octet\0", Request(Opcode.RRQ, "boot.bin", "octet")),
    (b"\0\2cfg\0netascii\0", Request(Opcode.WRQ, "cfg", "netascii")),
    (
        b"\0\1f\0octet\0tsize\x000\0blksize\x001428\0",
        Request(Opcode.RRQ, "f", "octet", (("tsize", "0"), ("blksize", "1428"))),
    ),
    (b"\0\1\xc3\xa4\xff\0octet\0", Request(Opcode.RRQ, "ä\udcff", "octet")),
    (b"\0\3\0\1hello", Data(1, memoryview(b"hello"))),
    (b"\0\3\xff\xff", Data(65535, memoryview(b""))),
    (b"\0\4\0\0", Ack(0)),
    (b"\0\4\x12\x34", Ack(0x1234)),
    (b"\0\5\0\1File not found\0", ErrorPacket(1, "File not found")),
    (b"\0\5\xff\xff\0", ErrorPacket(65535, "")),
    (b"\0\6blksize\x00512\0", OptionAck((("blksize", "512"),))),
    (b"\0\6", OptionAck(())),
]

TOLERATED: list[tuple[bytes, Packet]] = [
    (b"\0\1f\0OcTeT\0", Request(Opcode.RRQ, "f", "octet")),
    (b"\0\1f\0octet\0BlkSize\x0099\0", Request(Opcode.RRQ, "f", "octet", (("blksize", "99"),))),
    (b"\0\1f\0octet\0" + bytes(400), Request(Opcode.RRQ, "f", "octet")),
    (b"\0\1f\0octet\0a\x001\0\0\0\0", Request(Opcode.RRQ, "f", "octet", (("a", "1"),))),
    (b"\0\1f\0octet\0a\0\0", Request(Opcode.RRQ, "f", "octet", (("a", ""),))),
    (b"\0\4\0\7 and padding", Ack(7)),
    (b"\0\5\0\2", ErrorPacket(2, "")),
    (b"\0\5\0\2no end", ErrorPacket(2, "no end")),
    (b"\0\5\0\2one\0two\0", ErrorPacket(2, "one")),
    (b"\0\5\0\0\xff\0", ErrorPacket(0, "\\xff")),
    (b"\0\5\0\0" + b"x" * 60_000, ErrorPacket(0, "x" * ERROR_TEXT_LARGEST)),
    (b"\0\6blksize\x00512\0\0\0", OptionAck((("blksize", "512"),))),
]

MALFORMED = [
    b"",
    b"\0",
    b"\1",
    b"\0\0",
    b"\0\7",
    b"\1\1f\0octet\0",
    b"\xff\xff",
    b"\0\1",
    b"\0\1f",
    b"\0\1f\0",
    b"\0\1f\0octet",
    b"\0\1f\0octet\0blksize",
    b"\0\1f\0octet\0blksize\0",
    b"\0\1f\0octet\0blksize\x00512",
    b"\0\1f\0octet\0\x00512\0",
    b"\0\1f\0octet\0\0\0a\x001\0",
    b"\0\2" + b"n" * REQUEST_LARGEST_ACCEPTED + b"\0octet\0",
    b"\0\3",
    b"\0\3\0",
    b"\0\4",
    b"\0\4\0",
    b"\0\5",
    b"\0\5\0",
    b"\0\6blksize",
    b"\0\6blksize\0",
    b"\0\6\x00512\0",
    b"\0\6" + b"a\0b\0" * 400,
]

NOT_SERVED = [
    b"\0\1\0octet\0",
    b"\0\1f\0\0",
    b"\0\1f\0binary\0",
    b"\0\1f\0mail\0",
    b"\0\1f\0MAIL\0",
    b"\0\1f\0octet \0",
    b"\0\3\0\1x",
    b"\0\4\0\1",
    b"\0\5\0\1x\0",
    b"\0\6",
]

names = st.text(min_size=1, max_size=40).filter(lambda text: "\0" not in text and text.isascii())
fields = st.binary(max_size=60).map(lambda raw: raw.replace(b"\0", b"").decode("utf-8", "surrogateescape"))
option_tuples = st.dictionaries(names.map(str.lower), fields, max_size=4).map(lambda each: tuple(each.items()))
requests = st.builds(
    Request,
    opcode=st.sampled_from([Opcode.RRQ, Opcode.WRQ]),
    filename=fields.filter(bool),
    mode=st.sampled_from(["octet", "netascii", "mail", "x"]),
    options=option_tuples,
)
wire_numbers = st.integers(0, 65535)
packets = st.one_of(
    requests,
    st.builds(Data, block=wire_numbers, payload=st.binary(max_size=600).map(memoryview)),
    st.builds(Ack, block=wire_numbers),
    st.builds(ErrorPacket, code=wire_numbers, message=st.text(st.characters(codec="ascii", exclude_characters="\0"))),
    st.builds(OptionAck, options=option_tuples),
)
# Random bytes seldom get past the opcode, so most of the fuzz is made of what a packet is made of.
datagrams = st.one_of(
    st.binary(max_size=80),
    st.lists(
        st.sampled_from(
            [
                *(b"\0", b"\0\1", b"\0\2", b"\0\3", b"\0\4", b"\0\5", b"\0\6", b"f\0", b"octet\0", b"mail\0"),
                *(b"blksize\0", b"Blksize\0", b"512\0", b"\xff", "\u212a".encode(), b"\x1b[2J", b"x" * 500),
            ]
        ),
        max_size=12,
    ).map(b"".join),
)


@pytest.mark.parametrize(("raw", "packet"), VECTORS)
def test_vector_is_parsed_and_built(raw: bytes, packet: Packet) -> None:
    assert parse_untrusted(raw) == packet
    assert parse_untrusted(bytearray(raw)) == packet
    assert parse_untrusted(memoryview(raw)) == packet
    assert packet.to_bytes() == raw


@pytest.mark.parametrize(("raw", "packet"), TOLERATED)
def test_what_peers_in_the_field_send_is_taken(raw: bytes, packet: Packet) -> None:
    assert parse_untrusted(raw) == packet


@pytest.mark.parametrize("raw", MALFORMED)
def test_malformed_is_an_illegal_operation(raw: bytes) -> None:
    with pytest.raises(RemoteError) as caught:
        parse_untrusted(raw)
    assert caught.value.code is ErrorCode.ILLEGAL_OPERATION


@pytest.mark.parametrize("raw", [*MALFORMED, *NOT_SERVED])
def test_not_a_request_that_can_be_served(raw: bytes) -> None:
    with pytest.raises(RemoteError) as caught:
        parse_request_untrusted(raw)
    assert caught.value.code is ErrorCode.ILLEGAL_OPERATION


def test_mail_is_refused_with_a_clear_text() -> None:
    with pytest.raises(RemoteError, match="mail mode is obsolete"):
        parse_request_untrusted(b"\0\2user@host\0mail\0")


@pytest.mark.parametrize("head", [b"\0\1f\0octet\0", b"\0\6"])
@pytest.mark.parametrize("second", [b"blksize\x00512\0", b"BLKSIZE\x001024\0"])
def test_an_option_that_stands_twice_is_refused(head: bytes, second: bytes) -> None:
    with pytest.raises(RemoteError) as caught:
        parse_untrusted(head + b"blksize\x00512\0a\x001\0" + second)
    assert caught.value.code is ErrorCode.OPTION_REFUSED


def test_a_hundred_options_are_a_request() -> None:
    raw = b"\0\1f\0octet\0" + b"".join(b"o%d\x001\0" % number for number in range(100))
    assert len(parse_request_untrusted(raw).options) == 100


def test_names_are_lowered_as_ascii_only() -> None:
    kelvin = "bl\u212asize"
    packet = parse_request_untrusted(b"\0\1f\0octet\0" + kelvin.encode() + b"\x00512\0")
    assert packet.options == ((kelvin, "512"),)


def test_payload_is_a_view_not_a_copy() -> None:
    buffer = bytearray(b"\0\3\0\1abc")
    packet = parse_untrusted(buffer)
    buffer[4:] = b"xyz"
    assert isinstance(packet, Data)
    assert bytes(packet.payload) == b"xyz"


@pytest.mark.parametrize(
    "packet",
    [
        Request(Opcode.RRQ, "", "octet"),
        Request(Opcode.RRQ, "f", ""),
        Request(Opcode.RRQ, "a\0b", "octet"),
        Request(Opcode.RRQ, "f", "oc\0tet"),
        Request(Opcode.DATA, "f", "octet"),
        Request(Opcode.RRQ, "\ud800", "octet"),
        Request(Opcode.RRQ, "f", "octet", (("", "1"),)),
        Request(Opcode.RRQ, "f", "octet", (("a", "1"), ("A", "2"))),
        Request(Opcode.RRQ, "f", "octet", (("a", "1\0"),)),
        Request(Opcode.RRQ, "f" * (REQUEST_LARGEST - 8), "octet"),
        Data(65536, memoryview(b"")),
        Ack(-1),
        ErrorPacket(65536),
        OptionAck((("a", "1"), ("a", "1"))),
    ],
)
def test_what_the_layout_cannot_say_is_a_local_error(packet: Packet) -> None:
    with pytest.raises(LocalError):
        packet.to_bytes()


def test_the_longest_request_has_512_octets() -> None:
    assert len(Request(Opcode.RRQ, "f" * (REQUEST_LARGEST - 9), "octet").to_bytes()) == REQUEST_LARGEST


@pytest.mark.parametrize("number", [0, 1, 255, 256, 65535])
def test_ack_bytes(number: int) -> None:
    assert ack_bytes(number) == Ack(number).to_bytes()
    assert parse_untrusted(ack_bytes(number)) == Ack(number)


@pytest.mark.parametrize("number", [-1, 65536])
def test_ack_bytes_outside_16_bits(number: int) -> None:
    with pytest.raises(LocalError):
        ack_bytes(number)


@given(packets)
def test_built_packets_parse_to_the_same(packet: Packet) -> None:
    try:
        raw = packet.to_bytes()
    except LocalError:
        assert isinstance(packet, Request)  # only this one can be too long
        return
    if isinstance(packet, ErrorPacket):
        packet = ErrorPacket(packet.code, packet.message[:ERROR_TEXT_LARGEST])
    assert parse_untrusted(raw) == packet


@given(datagrams)
@example(b"\0\1f\0mail\0")
def test_any_datagram_is_a_value_or_a_remote_error(raw: bytes) -> None:
    for parse in (parse_untrusted, parse_request_untrusted):
        try:
            packet = parse(raw)
        except RemoteError as error:
            answer = ErrorPacket(error.code, str(error))
            assert len(answer.to_bytes()) <= 64
            assert parse_untrusted(answer.to_bytes()) == answer
        else:
            assert isinstance(packet, Request | Data | Ack | ErrorPacket | OptionAck)


@given(datagrams)
def test_what_was_parsed_can_be_built_and_is_stable(raw: bytes) -> None:
    try:
        packet = parse_untrusted(raw)
        again = packet.to_bytes()
    except (RemoteError, LocalError):
        return
    assert parse_untrusted(again) == packet


@given(st.text(), st.integers(0, 70_000).filter(lambda code: code <= 65535))
def test_an_error_packet_never_refuses_its_text(text: str, code: int) -> None:
    raw = ErrorPacket(code, text).to_bytes()
    assert len(raw) <= 512
    assert raw.endswith(b"\0")
    assert isinstance(parse_untrusted(raw), ErrorPacket)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain ä 中 😀", "plain ä 中 😀"),
        ("\x1b[2Jgone\r\n", "\\x1b[2Jgone\\x0d\\x0a"),
        ("\x9b31m", "\\x9b31m"),
        ("a\\nb", "a\\\\nb"),
        ("evil\u202etxt.exe", "evil\\u202etxt.exe"),
        ("zero\u200bwidth", "zero\\u200bwidth"),
        ("line\u2028end", "line\\u2028end"),
        ("\udcff\udc80", "\\xff\\x80"),
        ("\ud800", "\\ud800"),
        ("\U000e0001", "\\U000e0001"),
        ("", ""),
    ],
)
def test_printable_vectors(text: str, shown: str) -> None:
    assert printable_untrusted(text) == shown


def test_printable_never_cuts_an_escape_in_half() -> None:
    assert printable_untrusted("abc\x1b\x1b", 10) == "abc\\x1b..."
    assert printable_untrusted("abcdefghij", 10) == "abcdefghij"
    assert printable_untrusted("abcdefghijk", 10) == "abcdefg..."
    assert printable_untrusted("\x1b" * 9, 3) == "..."


any_text = st.text(st.characters(exclude_categories=()))


@given(any_text, st.integers(3, 60))
def test_printable_is_printable_short_and_encodable(text: str, limit: int) -> None:
    shown = printable_untrusted(text, limit)
    assert shown.isprintable()
    assert len(shown) <= limit
    shown.encode("utf-8")
