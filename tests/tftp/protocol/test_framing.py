from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from blockstep.protocol.errors import LocalError, RemoteError
from blockstep.protocol.framing import PAYLOAD_LARGEST, DataHeader, FrameArena, FrameDecoder, frame
from blockstep.protocol.numbers import Numbering

ARENA = 4096
Told = list[DataHeader | bytes | str]


def data(block: int, payload: bytes) -> bytes:
    return (len(payload) + 4).to_bytes(4, "big") + b"\0\3" + block.to_bytes(2, "big") + payload


def told(pieces: list[bytes], arena_bytes: int = ARENA) -> Told:
    """What a decoder says to a stream cut into these pieces: payloads joined, behind their header; errors as text."""
    decoder = FrameDecoder(arena_bytes)
    events: Told = []
    try:
        for piece in pieces:
            while piece:
                space = decoder.space()
                count = min(len(space), len(piece))
                space[:count] = piece[:count]
                piece = piece[count:]
                decoder.received(count)
                _take_all(decoder, events)
    except RemoteError as error:
        return [*events, f"error {error.code.value}: {error}"]
    return [*events, "in a frame"] if decoder.mid_frame else events


def _take_all(decoder: FrameDecoder, events: Told) -> None:
    while (event := decoder.poll_event()) is not None:
        if not isinstance(event, memoryview):
            events.append(event)
            if isinstance(event, DataHeader):
                events.append(b"")
            continue
        assert len(event) > 0
        before = events[-1]
        assert isinstance(before, bytes)
        events[-1] = before + event


def tr(stream: bytes, expected: Told) -> None:
    """Whole, byte by byte, and with an ACK behind it, `stream` says what is expected."""
    assert told([stream]) == expected
    assert told([stream[at : at + 1] for at in range(len(stream))]) == expected
    if expected and expected[-1] != "in a frame" and not str(expected[-1]).startswith("error"):
        assert told([stream + frame(b"\0\4\0\7")]) == [*expected, b"\0\4\0\7"]


RRQ = b"\0\1name\0octet\0"


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        (b"", []),
        (frame(RRQ), [RRQ]),
        (frame(b"\0\4\0\1"), [b"\0\4\0\1"]),
        (frame(b"\0\5\0\1no\0"), [b"\0\5\0\1no\0"]),
        (data(1, b""), [DataHeader(1, 0), b""]),
        (data(65535, b"x"), [DataHeader(65535, 1), b"x"]),
        (data(1, b"a" * 512) + data(2, b"b" * 3), [DataHeader(1, 512), b"a" * 512, DataHeader(2, 3), b"b" * 3]),
        (data(1, b"c" * 3 * ARENA), [DataHeader(1, 3 * ARENA), b"c" * 3 * ARENA]),
        (data(1, b"")[:7], ["in a frame"]),
        (data(1, b"abc")[:-1], [DataHeader(1, 3), b"ab", "in a frame"]),
        (frame(RRQ) + frame(RRQ)[:-1], [RRQ, "in a frame"]),
        (frame(b"\0\1" + b"n" * 1470), [b"\0\1" + b"n" * 1470]),
    ],
)
def test_frames(stream: bytes, expected: Told) -> None:
    tr(stream, expected)


TOO_LONG = f"error 4: a frame has 4 to {PAYLOAD_LARGEST + 4} octets"
NOT_DATA = "error 4: only DATA may be longer than 1472 octets"


@pytest.mark.parametrize("length", [0, 1, 2, 3, PAYLOAD_LARGEST + 5, 2**31, 2**32 - 1])
def test_a_length_that_cannot_be_is_refused_before_a_byte_behind_it_is_taken(length: int) -> None:
    tr(length.to_bytes(4, "big"), [TOO_LONG])
    tr(frame(b"\0\4\0\1") + length.to_bytes(4, "big") + b"\0\3\0\1", [b"\0\4\0\1", TOO_LONG])


def test_the_longest_data_is_taken() -> None:
    payload = bytes(PAYLOAD_LARGEST)
    assert told([data(1, payload)], 1 << 16) == [DataHeader(1, PAYLOAD_LARGEST), payload]


@pytest.mark.parametrize("opcode", [0, 1, 2, 4, 5, 6, 7, 0x0301, 65535])
@pytest.mark.parametrize("length", [1473, 65536, PAYLOAD_LARGEST + 4])
def test_a_long_frame_that_is_no_data_is_refused_at_its_opcode(opcode: int, length: int) -> None:
    tr(length.to_bytes(4, "big") + opcode.to_bytes(2, "big") + b"\0\0", [NOT_DATA])


def test_payload_is_handed_out_where_it_was_received() -> None:
    decoder = FrameDecoder(ARENA)
    space = decoder.space()
    stream = data(1, b"abc" * 100)
    space[: len(stream)] = stream
    decoder.received(len(stream))
    assert decoder.poll_event() == DataHeader(1, 300)
    piece = decoder.poll_event()
    assert isinstance(piece, memoryview)
    space[8] = ord("X")
    assert piece[0] == ord("X")


def test_a_payload_that_is_not_all_there_is_handed_out_as_far_as_it_is() -> None:
    decoder = FrameDecoder(ARENA)
    decoder.space()[:11] = data(1, b"abcdef")[:11]
    decoder.received(11)
    assert decoder.poll_event() == DataHeader(1, 6)
    assert decoder.poll_event() == b"abc"
    assert decoder.poll_event() is None
    assert len(decoder.space()) == ARENA


def test_the_order_of_calls_is_held() -> None:
    decoder = FrameDecoder(ARENA)
    with pytest.raises(LocalError, match="do not fit"):
        decoder.received(ARENA + 1)
    decoder.space()[:8] = frame(b"\0\4\0\1")
    decoder.received(8)
    with pytest.raises(LocalError, match="nobody has taken"):
        decoder.space()
    assert decoder.poll_event() == b"\0\4\0\1"
    assert decoder.poll_event() is None
    decoder.space()[:4] = b"\0\0\0\0"
    decoder.received(4)
    with pytest.raises(RemoteError):
        decoder.poll_event()
    for call in (decoder.poll_event, decoder.space):
        with pytest.raises(LocalError, match="lost its order"):
            call()


def test_an_arena_holds_at_least_a_control_packet() -> None:
    FrameDecoder(1476)
    with pytest.raises(LocalError):
        FrameDecoder(1475)


@pytest.mark.parametrize("length", [0, 3, 1473])
def test_frame_refuses_what_no_peer_would_take(length: int) -> None:
    with pytest.raises(LocalError):
        frame(bytes(length))


def cut(stream: bytes, at: list[int]) -> list[bytes]:
    borders = [0, *sorted(border % (len(stream) + 1) for border in at), len(stream)]
    return [stream[start:end] for start, end in pairwise(borders)]


good_frames = st.one_of(
    st.builds(data, st.integers(0, 65535), st.binary(max_size=3000)),
    st.builds(lambda body: frame(b"\0\1" + body), st.binary(min_size=2, max_size=1400)),
)
lying_frames = st.builds(
    lambda length, body: length.to_bytes(4, "big") + body,
    st.sampled_from([0, 3, 4, 5, 1472, 1473, PAYLOAD_LARGEST + 4, PAYLOAD_LARGEST + 5, 2**31]),
    st.binary(max_size=40),
)
streams = st.lists(good_frames | lying_frames | st.binary(max_size=20), max_size=8).map(b"".join)


@given(streams, st.lists(st.integers(0, 1 << 20), max_size=12), st.sampled_from([1476, 1500, ARENA]))
@example(stream=data(1, b"x" * 2000) + frame(RRQ), at=[4, 8, 9], arena_bytes=1476)
def test_any_cut_gives_the_same_events(stream: bytes, at: list[int], arena_bytes: int) -> None:
    whole = told([stream], 1 << 20)
    assert told(cut(stream, at), arena_bytes) == whole
    assert told([stream[i : i + 1] for i in range(len(stream))], arena_bytes) == whole


@given(st.lists(good_frames, max_size=8))
def test_good_frames_are_events_and_nothing_else(frames: list[bytes]) -> None:
    events = told([b"".join(frames)])
    assert not [event for event in events if isinstance(event, str)]
    assert len([event for event in events if not isinstance(event, DataHeader)]) == len(frames)


class TestRuns:
    """`poll_run` is a short cut: with it and without it the same blocks come out."""

    @staticmethod
    def decoder_with(stream: bytes) -> FrameDecoder:
        decoder = FrameDecoder(1 << 16)
        decoder.space()[: len(stream)] = stream
        decoder.received(len(stream))
        return decoder

    def test_full_blocks_come_at_once_and_what_follows_as_events(self) -> None:
        decoder = self.decoder_with(b"".join(data(at, bytes([at]) * 16) for at in (1, 2, 3)) + data(4, b"end"))
        assert list(map(bytes, decoder.poll_run(16, 1, Numbering()))) == [bytes([at]) * 16 for at in (1, 2, 3)]
        assert decoder.poll_event() == DataHeader(4, 3)

    @pytest.mark.parametrize("rollover", [0, 1])
    def test_across_the_end_of_the_wire_numbers(self, rollover: int) -> None:
        numbering = Numbering(rollover)
        stream = b"".join(data(numbering.wire(index), b"12345678") for index in range(65530, 65550))
        assert len(self.decoder_with(stream).poll_run(8, 65530, numbering)) == 20

    @pytest.mark.parametrize("at", range(8))
    @pytest.mark.parametrize("which", [0, 1, 2])
    def test_a_run_with_any_other_header_in_it_is_none(self, at: int, which: int) -> None:
        stream = bytearray(b"".join(data(index, b"12345678") for index in (1, 2, 3)))
        stream[which * 16 + at] ^= 1
        decoder = self.decoder_with(bytes(stream))
        assert decoder.poll_run(8, 1, Numbering()) == []
        assert decoder.poll_run(8, 1, Numbering()) == []

    def test_one_block_or_a_payload_that_has_begun_is_none(self) -> None:
        assert self.decoder_with(data(1, b"12345678")).poll_run(8, 1, Numbering()) == []
        decoder = self.decoder_with(data(1, data(1, b"12345678") * 2))
        assert decoder.poll_event() == DataHeader(1, 32)
        assert decoder.poll_run(8, 1, Numbering()) == []


class TestFrameArena:
    @pytest.mark.parametrize(("slots", "blksize"), [(1, 8), (3, 8), (5, 512), (128, 9)])
    @pytest.mark.parametrize("index", [1, 65530, 65536, 200_000])
    @pytest.mark.parametrize("rollover", [0, 1])
    def test_what_it_sends_is_frames(self, slots: int, blksize: int, index: int, rollover: int) -> None:
        numbering = Numbering(rollover)
        for got in {0, 1, blksize - 1, blksize, slots * blksize - 1, slots * blksize}:
            arena = FrameArena(slots, blksize)
            content = bytes(each % 251 for each in range(got))
            for slot in range(slots):
                payload = content[slot * blksize : (slot + 1) * blksize]
                arena.payloads[slot][: len(payload)] = payload
            view, count = arena.frames(index, got, numbering)
            blocks = [content[at : at + blksize] for at in range(0, got, blksize)]
            if got < slots * blksize and got % blksize == 0:
                blocks.append(b"")
            assert count == len(blocks)
            wires = [numbering.wire(index + each) for each in range(count)]
            assert bytes(view) == b"".join(map(data, wires, blocks))

    def test_two_batches_number_on(self) -> None:
        arena = FrameArena(2, 8)
        numbering = Numbering()
        assert told([bytes(arena.frames(1, 16, numbering)[0])])[::2] == [DataHeader(1, 8), DataHeader(2, 8)]
        assert told([bytes(arena.frames(3, 8, numbering)[0])])[::2] == [DataHeader(3, 8), DataHeader(4, 0)]

    def test_more_than_it_holds_is_refused(self) -> None:
        with pytest.raises(LocalError):
            FrameArena(2, 8).frames(1, 17, Numbering())
        for slots, blksize in ((0, 8), (1, 0), (1, PAYLOAD_LARGEST + 1)):
            with pytest.raises(LocalError):
                FrameArena(slots, blksize)
