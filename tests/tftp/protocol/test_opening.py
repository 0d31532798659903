from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blockstep.protocol.errors import End, ErrorCode, LocalError, RemoteError, TransferFailed
from blockstep.protocol.opening import Opening
from blockstep.protocol.options import Agreed, Wanted
from blockstep.protocol.states import Role, State
from blockstep.protocol.timer import FIRST_S, GIVE_UP_S, ResendTimer
from blockstep.protocol.wire import ErrorPacket, Opcode, OptionAck, Request, ack_bytes
from support.playbook import block

WANTED = Wanted(blksize=1428, windowsize=8, tsize=0)


def asking(opcode: Opcode = Opcode.RRQ) -> Opening:
    request = Request(opcode, "name", "octet", WANTED.to_options())
    return Opening(request, WANTED, ResendTimer(), now=100.0)


def oack(*options: tuple[str, str]) -> memoryview:
    return memoryview(OptionAck(options).to_bytes())


def view(packet: bytes) -> memoryview:
    return memoryview(packet)


def test_the_request_goes_out_once_until_its_time_is_over() -> None:
    opening = asking()
    packet = opening.poll_request(100.0)
    assert packet == Request(Opcode.RRQ, "name", "octet", WANTED.to_options()).to_bytes()
    assert opening.poll_request(100.0) is None
    assert opening.next_deadline() == 100.0 + FIRST_S
    opening.handle_deadline(100.9)
    assert opening.poll_request(100.9) is None
    opening.handle_deadline(101.0)
    assert opening.poll_request(101.0) == packet
    assert opening.resends == 1


def test_nobody_answers() -> None:
    opening = asking()
    sent_at, now = [], 100.0
    for _ in range(8):
        assert opening.poll_request(now) is not None
        sent_at.append(now - 100.0)
        now = opening.next_deadline()
        if now < 100.0 + GIVE_UP_S:
            opening.handle_deadline(now)
    with pytest.raises(TransferFailed) as caught:
        opening.handle_deadline(now)
    assert sent_at == [0, 1, 3, 7, 11, 15, 19, 23]
    assert caught.value.end is End.TIMED_OUT
    assert now == 100.0 + GIVE_UP_S
    assert opening.state is State.FAILED


@pytest.mark.parametrize("opcode", [Opcode.RRQ, Opcode.WRQ])
def test_an_oack_says_what_holds(opcode: Opcode) -> None:
    opening = asking(opcode)
    opening.poll_request(100.0)
    assert opening.handle_answer(oack(("blksize", "1024"), ("windowsize", "4")), 100.25)
    assert opening.agreed == Agreed(blksize=1024, windowsize=4)
    assert opening.by_oack
    assert opening.state is State.MOVING
    assert opening.timer.srtt_s == pytest.approx(0.25)


@pytest.mark.parametrize(("opcode", "packet"), [(Opcode.RRQ, block(1)), (Opcode.WRQ, ack_bytes(0))])
def test_a_server_without_options_answers_as_in_rfc_1350(opcode: Opcode, packet: bytes) -> None:
    opening = asking(opcode)
    opening.poll_request(100.0)
    assert opening.handle_answer(view(packet), 100.1)
    assert opening.agreed == Agreed()
    assert not opening.by_oack
    assert opening.role is (Role.GET if opcode is Opcode.RRQ else Role.PUT)


@pytest.mark.parametrize(
    ("opcode", "packet"),
    [(Opcode.RRQ, block(2)), (Opcode.RRQ, block(0)), (Opcode.WRQ, ack_bytes(1)), (Opcode.WRQ, ack_bytes(65535))],
)
def test_a_piece_of_another_transfer_is_no_answer(opcode: Opcode, packet: bytes) -> None:
    opening = asking(opcode)
    assert not opening.handle_answer(view(packet), 100.1)
    assert opening.state is State.ASKING


@pytest.mark.parametrize(
    ("opcode", "packet", "code"),
    [
        (Opcode.RRQ, ack_bytes(0), ErrorCode.ILLEGAL_OPERATION),
        (Opcode.WRQ, block(1), ErrorCode.ILLEGAL_OPERATION),
        (Opcode.RRQ, Request(Opcode.RRQ, "x", "octet").to_bytes(), ErrorCode.ILLEGAL_OPERATION),
        (Opcode.RRQ, b"", ErrorCode.ILLEGAL_OPERATION),
        (Opcode.RRQ, b"\0\7\0\0", ErrorCode.ILLEGAL_OPERATION),
        (Opcode.RRQ, OptionAck((("blksize", "65464"),)).to_bytes(), ErrorCode.OPTION_REFUSED),
        (Opcode.RRQ, OptionAck((("rollover", "1"),)).to_bytes(), ErrorCode.OPTION_REFUSED),
        (Opcode.WRQ, OptionAck((("windowsize", "0"),)).to_bytes(), ErrorCode.OPTION_REFUSED),
    ],
)
def test_an_offence_ends_it(opcode: Opcode, packet: bytes, code: ErrorCode) -> None:
    opening = asking(opcode)
    with pytest.raises(RemoteError) as caught:
        opening.handle_answer(view(packet), 100.1)
    assert caught.value.code is code
    assert opening.state is State.FAILED
    assert_over(opening)


def assert_over(opening: Opening) -> None:
    """No call does anything any more."""
    with pytest.raises(LocalError):
        opening.handle_answer(view(block(1)), 101.0)
    with pytest.raises(LocalError):
        opening.handle_deadline(101.0)
    assert opening.poll_request(101.0) is None


def test_a_refusal_is_passed_on_escaped() -> None:
    opening = asking()
    with pytest.raises(TransferFailed) as caught:
        opening.handle_answer(view(ErrorPacket(1, "no \x1b[2J file").to_bytes()), 100.1)
    assert (caught.value.end, caught.value.code) == (End.PEER_ERROR, 1)
    assert caught.value.detail == "no \\x1b[2J file"
    assert_over(opening)


def test_a_refusal_without_words_has_some() -> None:
    with pytest.raises(TransferFailed, match="no text"):
        asking().handle_answer(view(ErrorPacket(1).to_bytes()), 100.1)


def test_after_the_answer_it_is_over() -> None:
    opening = asking()
    opening.handle_answer(view(block(1)), 100.1)
    assert_over(opening)


def test_no_round_trip_is_taken_from_a_request_that_went_out_twice() -> None:
    opening = asking()
    opening.poll_request(100.0)
    opening.handle_deadline(101.0)
    opening.poll_request(101.0)
    opening.handle_answer(view(block(1)), 101.1)
    assert opening.timer.srtt_s is None
    assert opening.timer.rto_s == FIRST_S


@given(st.binary(max_size=60) | st.binary(max_size=40).map(lambda rest: b"\0\6" + rest), st.sampled_from([1, 2]))
def test_whatever_comes_is_an_answer_or_none_or_an_offence(packet: bytes, opcode: int) -> None:
    opening = asking(Opcode(opcode))
    try:
        opening.handle_answer(view(packet), 100.1)
    except (RemoteError, TransferFailed):
        assert opening.state is State.FAILED
