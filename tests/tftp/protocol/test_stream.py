from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blockstep.protocol.errors import End, ErrorCode, LocalError, RemoteError, TransferFailed
from blockstep.protocol.framing import PAYLOAD_LARGEST, DataHeader, FrameDecoder
from blockstep.protocol.options import Agreed, Wanted, negotiate
from blockstep.protocol.states import Role
from blockstep.protocol.stream import (
    BLKSIZE_STREAM,
    REQUESTS_WAITING,
    Requests,
    StreamOpening,
    StreamReceiver,
    StreamSender,
    StreamTransfer,
    stream_limits,
    stream_wanted,
)
from blockstep.protocol.stream_states import StreamState
from blockstep.protocol.wire import ErrorPacket, Opcode, OptionAck, Request, ack_bytes

READ = Request(Opcode.RRQ, "name", "octet")
WRITE = Request(Opcode.WRQ, "name", "octet")
ERROR = ErrorPacket(1, "no such\nfile").to_bytes()


def send_through(sender: StreamSender, receiver: StreamReceiver, content: bytes) -> bytes:
    """All of `content` from machine to machine; what the receiver got."""
    decoder = FrameDecoder()
    got = bytearray()
    at = 0
    while sender.state is StreamState.MOVING:
        for slot in sender.arena.payloads:
            part = content[at : at + len(slot)]
            slot[: len(part)] = part
            at += len(part)
        room = sender.arena.slots * sender.arena.blksize
        stream = sender.frames(min(room, len(content) - sender.stats.payload_bytes))
        while stream:
            space = decoder.space()
            count = min(len(space), len(stream))
            space[:count] = stream[:count]
            stream = stream[count:]
            decoder.received(count)
            got += taken(decoder, receiver)
    return bytes(got)


def taken(decoder: FrameDecoder, receiver: StreamReceiver) -> bytes:
    got = bytearray()
    while (event := decoder.poll_event()) is not None:
        if isinstance(event, memoryview):
            receiver.handle_payload(len(event))
            got += event
        elif isinstance(event, DataHeader):
            receiver.handle_data(event)
        else:
            receiver.handle_packet_untrusted(event)
    return bytes(got)


def refusal(call: Callable[[], object]) -> RemoteError:
    with pytest.raises(RemoteError) as caught:
        call()
    return caught.value


def failure(call: Callable[[], object]) -> TransferFailed:
    with pytest.raises(TransferFailed) as caught:
        call()
    return caught.value


def delivered(*transfers: StreamTransfer) -> list[bool]:
    return [transfer.delivered for transfer in transfers]


class TestTransfer:
    @pytest.mark.parametrize("rollover", [0, 1])
    @pytest.mark.parametrize(
        ("blksize", "size"),
        [(8, 0), (8, 7), (8, 8), (8, 9), (512, 511), (512, 512), (512, 300_000), (8, 530_000), (70_000, 140_000)],
    )
    def test_content_arrives_and_both_count_the_same(self, blksize: int, size: int, rollover: int) -> None:
        content = random.Random(size).randbytes(size)
        agreed = Agreed(blksize=blksize, rollover=rollover)
        sender = StreamSender(Role.SERVE_READ, agreed, Requests())
        receiver = StreamReceiver(Role.GET, agreed)
        assert send_through(sender, receiver, content) == content
        assert sender.state is receiver.state is StreamState.SETTLING
        assert delivered(sender, receiver) == [False, False]
        ack = receiver.settled()
        assert delivered(sender, receiver) == [False, True]
        sender.handle_packet_untrusted(ack)
        assert delivered(sender, receiver) == [True, True]
        for stats in (sender.stats, receiver.stats):
            assert (stats.payload_bytes, stats.blocks) == (size, size // blksize + 1)

    def test_a_block_that_is_not_the_next_is_refused(self) -> None:
        for block in (0, 2, 65535):
            receiver = StreamReceiver(Role.SERVE_WRITE, Agreed(), Requests())
            assert "not the next" in str(refusal(lambda: receiver.handle_data(DataHeader(block, 512))))  # noqa: B023
            assert receiver.state is StreamState.FAILED

    def test_a_block_larger_than_agreed_is_refused_before_its_payload(self) -> None:
        receiver = StreamReceiver(Role.GET, Agreed(blksize=1000))
        assert "larger" in str(refusal(lambda: receiver.handle_data(DataHeader(1, 1001))))

    def test_a_second_last_block_is_refused(self) -> None:
        receiver = StreamReceiver(Role.SERVE_WRITE, Agreed(), Requests())
        receiver.handle_data(DataHeader(1, 0))
        assert receiver.state is StreamState.SETTLING
        assert refusal(lambda: receiver.handle_data(DataHeader(2, 0))).code is ErrorCode.ILLEGAL_OPERATION
        with pytest.raises(RemoteError):
            receiver.settled()
        assert not receiver.delivered

    def test_an_ack_before_the_end_or_with_another_number_is_refused(self) -> None:
        sender = StreamSender(Role.PUT, Agreed())
        refusal(lambda: sender.handle_packet_untrusted(ack_bytes(0)))
        sender = StreamSender(Role.PUT, Agreed())
        sender.frames(10)
        assert "last block" in str(refusal(lambda: sender.handle_packet_untrusted(ack_bytes(2))))
        assert sender.state is StreamState.FAILED

    def test_an_error_ends_it_with_the_text_made_safe(self) -> None:
        for transfer in (StreamSender(Role.PUT, Agreed()), StreamReceiver(Role.GET, Agreed())):
            failed = failure(lambda: transfer.handle_packet_untrusted(ERROR))  # noqa: B023
            assert (failed.end, failed.code, failed.detail) == (End.PEER_ERROR, 1, "no such\\x0afile")
            assert transfer.state is StreamState.FAILED
            with pytest.raises(LocalError):
                transfer.handle_packet_untrusted(ERROR)

    def test_a_stream_that_ends_early_is_a_failure_until_the_last_byte(self) -> None:
        receiver = StreamReceiver(Role.SERVE_WRITE, Agreed(), Requests())
        receiver.handle_data(DataHeader(1, 3))
        receiver.handle_payload(2)
        assert failure(receiver.handle_closed).end is End.PEER_GONE
        whole = StreamReceiver(Role.SERVE_WRITE, Agreed(), Requests())
        whole.handle_data(DataHeader(1, 3))
        whole.handle_payload(3)
        whole.handle_closed()
        assert whole.settled() == ack_bytes(1)

    def test_a_sender_fails_when_nobody_confirms(self) -> None:
        sender = StreamSender(Role.PUT, Agreed())
        sender.frames(10)
        assert "before it confirmed" in failure(sender.handle_closed).detail

    def test_no_more_frames_after_the_last(self) -> None:
        sender = StreamSender(Role.PUT, Agreed())
        sender.frames(10)
        with pytest.raises(LocalError):
            sender.frames(0)

    @given(st.lists(st.binary(max_size=30), max_size=5), st.sampled_from(Role))
    def test_any_packet_is_taken_or_refused(self, packets: list[bytes], role: Role) -> None:
        requests = Requests() if role in (Role.SERVE_READ, Role.SERVE_WRITE) else None
        sends = role in (Role.PUT, Role.SERVE_READ)
        transfer: StreamTransfer = (StreamSender if sends else StreamReceiver)(role, Agreed(), requests)
        for packet in packets:
            try:
                transfer.handle_packet_untrusted(packet)
            except (RemoteError, TransferFailed):
                assert transfer.state is StreamState.FAILED
                return
            assert packet[:2] in (b"\0\1", b"\0\2")


class TestRuns:
    """The short cut and the long way: the same blocks, the same offences."""

    @staticmethod
    def received(stream: bytes, cut: int, *, runs: bool) -> tuple[bytes, object]:
        decoder = FrameDecoder(4096)
        receiver = StreamReceiver(Role.GET, Agreed(blksize=16))
        got = bytearray()
        try:
            for piece in (stream[:cut], stream[cut:]):
                decoder.space()[: len(piece)] = piece
                decoder.received(len(piece))
                got += b"".join(receiver.take_run(decoder)) if runs else b""
                got += taken(decoder, receiver)
        except (RemoteError, TransferFailed) as error:
            return bytes(got), str(error)
        return bytes(got), (receiver.stats, receiver.state)

    @given(
        st.lists(st.tuples(st.sampled_from([0, 0, 0, 0, 1]), st.sampled_from([16, 16, 16, 16, 3, 17])), max_size=20),
        st.integers(0, 500),
    )
    def test_they_say_the_same(self, blocks: list[tuple[int, int]], cut: int) -> None:
        headers = [(size + 4).to_bytes(4, "big") + b"\0\3" for _, size in blocks]
        numbers = [(at + skip).to_bytes(2, "big") for at, (skip, _) in enumerate(blocks, 1)]
        payloads = [bytes([at]) * size for at, (_, size) in enumerate(blocks)]
        stream = b"".join(map(b"".join, zip(headers, numbers, payloads, strict=True)))
        by_runs, slow = (self.received(stream, min(cut, len(stream)), runs=runs) for runs in (True, False))
        assert by_runs[1] == slow[1]
        if not isinstance(slow[1], str):
            assert by_runs[0] == slow[0]

    def test_it_is_taken_where_it_can_be(self) -> None:
        sender = StreamSender(Role.PUT, Agreed(blksize=16))
        stream = sender.frames(16 * sender.arena.slots)
        decoder = FrameDecoder()
        decoder.space()[: len(stream)] = stream
        decoder.received(len(stream))
        receiver = StreamReceiver(Role.SERVE_WRITE, Agreed(blksize=16), Requests())
        assert len(receiver.take_run(decoder)) == sender.arena.slots == receiver.stats.blocks
        assert receiver.take_run(decoder) == []
        assert receiver.stats == sender.stats


class TestRequests:
    def test_they_wait_in_order_and_unread(self) -> None:
        requests = Requests()
        sender = StreamSender(Role.SERVE_READ, Agreed(), requests)
        bad = b"\0\1nonsense"
        for packet in (READ.to_bytes(), bad, WRITE.to_bytes()):
            sender.handle_packet_untrusted(packet)
        assert sender.state is StreamState.MOVING
        assert [requests.maybe_next() for _ in range(4)] == [READ.to_bytes(), bad, WRITE.to_bytes(), None]

    def test_one_too_many_is_refused(self) -> None:
        requests = Requests()
        for _ in range(REQUESTS_WAITING):
            requests.push_untrusted(READ.to_bytes())
        assert "more than 16" in str(refusal(lambda: requests.push_untrusted(READ.to_bytes())))

    @pytest.mark.parametrize("packet", [b"\0\4\0\0", b"\0\6\0\0", ERROR, b"\1\1\0\0", b""])
    def test_only_requests_wait(self, packet: bytes) -> None:
        assert refusal(lambda: Requests().push_untrusted(packet)).code is ErrorCode.ILLEGAL_OPERATION

    def test_a_client_takes_none(self) -> None:
        refusal(lambda: StreamReceiver(Role.GET, Agreed()).handle_packet_untrusted(READ.to_bytes()))


class TestOpening:
    def test_an_oack_says_what_holds(self) -> None:
        opening = StreamOpening(READ, stream_wanted(tsize=0))
        opening.handle_packet_untrusted(OptionAck((("tsize", "9"), ("blksize", "100000"))).to_bytes())
        receiver = opening.receiver()
        assert (receiver.agreed.blksize, receiver.agreed.tsize) == (100_000, 9)
        assert receiver.stats.blocks == 0

    def test_data_is_an_answer_to_a_read_and_its_first_block(self) -> None:
        opening = StreamOpening(READ, stream_wanted())
        opening.handle_data(DataHeader(1, 5))
        receiver = opening.receiver()
        assert receiver.agreed == Agreed()
        receiver.handle_payload(5)
        assert receiver.state is StreamState.SETTLING

    def test_ack_0_is_an_answer_to_a_write(self) -> None:
        opening = StreamOpening(WRITE, stream_wanted())
        opening.handle_packet_untrusted(ack_bytes(0))
        assert opening.sender().agreed == Agreed()

    def test_an_error_refuses_the_request_alone(self) -> None:
        opening = StreamOpening(WRITE, stream_wanted())
        assert failure(lambda: opening.handle_packet_untrusted(ERROR)).code == 1
        assert opening.state is StreamState.REFUSED

    @pytest.mark.parametrize(
        ("request_", "packet"),
        [
            (READ, ack_bytes(0)),
            (WRITE, ack_bytes(1)),
            (READ, READ.to_bytes()),
            (READ, b"\0\6blksize\0"),
            (READ, OptionAck((("windowsize", "4"),)).to_bytes()),
            (READ, OptionAck((("blksize", str(BLKSIZE_STREAM + 1)),)).to_bytes()),
            (READ, b"\0\7\0\0"),
        ],
    )
    def test_anything_else_is_refused(self, request_: Request, packet: bytes) -> None:
        refusal(lambda: StreamOpening(request_, stream_wanted()).handle_packet_untrusted(packet))

    def test_data_is_no_answer_to_a_write(self) -> None:
        refusal(lambda: StreamOpening(WRITE, stream_wanted()).handle_data(DataHeader(1, 5)))

    def test_a_first_block_that_is_not_the_first(self) -> None:
        opening = StreamOpening(READ, stream_wanted())
        refusal(lambda: opening.handle_data(DataHeader(2, 5)))

    def test_a_closed_stream_is_no_answer(self) -> None:
        assert failure(StreamOpening(READ, stream_wanted()).handle_closed).end is End.PEER_GONE

    def test_the_wrong_half_is_our_own_mistake(self) -> None:
        opening = StreamOpening(READ, stream_wanted())
        for half in (opening.receiver, opening.sender):
            with pytest.raises(LocalError):
                half()


class TestOptions:
    @pytest.mark.parametrize(
        ("asked", "granted"),
        [
            (("blksize", "262144"), ("blksize", "262144")),
            (("blksize", "2000000"), ("blksize", str(PAYLOAD_LARGEST))),
            (("blksize2", "2000000"), ("blksize2", str(PAYLOAD_LARGEST))),
            (("windowsize", "16"), None),
            (("windowsize", "0"), None),
            (("tsize", "0"), ("tsize", "77")),
            (("timeout", "5"), ("timeout", "5")),
        ],
    )
    def test_what_a_server_grants(self, asked: tuple[str, str], granted: tuple[str, str] | None) -> None:
        _, oack = negotiate(Request(Opcode.RRQ, "name", "octet", (asked,)), stream_limits(), 77)
        assert oack == (None if granted is None else OptionAck((granted,)))

    def test_limits_are_limits(self) -> None:
        request = Request(Opcode.RRQ, "name", "octet", (("blksize", "262144"), ("tsize", "0")))
        agreed, _ = negotiate(request, stream_limits(blksize_max=1000, refuse=frozenset({"tsize"})), 77)
        assert (agreed.blksize, agreed.tsize, agreed.windowsize) == (1000, None, 1)
        with pytest.raises(LocalError):
            stream_limits(blksize_max=PAYLOAD_LARGEST + 1)

    def test_a_block_that_is_too_small_names_the_range_of_a_stream(self) -> None:
        request = Request(Opcode.RRQ, "name", "octet", (("blksize", "7"),))
        assert "8 to 1048576" in str(refusal(lambda: negotiate(request, stream_limits(), None)))

    def test_what_a_client_may_want(self) -> None:
        assert stream_wanted(blksize=PAYLOAD_LARGEST).to_options() == (("blksize", str(PAYLOAD_LARGEST)),)
        for blksize in (7, PAYLOAD_LARGEST + 1):
            with pytest.raises(LocalError):
                stream_wanted(blksize=blksize)

    def test_a_client_that_wants_a_window_is_wrong_here(self) -> None:
        with pytest.raises(LocalError, match="windowsize"):
            StreamOpening(READ, Wanted(windowsize=4))
