"""The framing decoder: however the stream is cut, the same events; the quick way for full blocks tells the same.

The first two bytes choose the cuts, the third the size of blocks, the fourth their number; the rest is the stream.
"""

from __future__ import annotations

from itertools import cycle

from blockstep.protocol.errors import RemoteError
from blockstep.protocol.framing import PAYLOAD_LARGEST, DataHeader, Event, FrameDecoder
from blockstep.protocol.numbers import Numbering

_ARENA_BYTES = 1476 + 64
_BYTE_BY_BYTE_LARGEST = 256
_NUMBERING = Numbering()
_REFUSED = "refused"

Told = list[DataHeader | bytes | str]


def one_input(data: bytes) -> None:
    """One stream, decoded in up to four ways."""
    choices, stream = data[:4].ljust(4, b"\0"), data[4:]
    whole = _decoded(stream, [1 << 16])
    if len(stream) <= _BYTE_BY_BYTE_LARGEST:
        assert whole == _decoded(stream, [1]), "byte by byte it is another stream"
    assert whole == _decoded(stream, [1 + choices[0], 1 + choices[1] * 8]), "cut in pieces it is another stream"
    by_runs = _decoded(stream, [1 + choices[1] * 8], blksize=8 + choices[2] % 64, index=1 + choices[3])
    assert whole == by_runs, "runs of full blocks tell something else"
    _holds(whole)


def _holds(told: Told) -> None:
    left = 0
    for event in told:
        if isinstance(event, DataHeader):
            assert left == 0, "a frame begins inside of another"
            assert 0 <= event.payload_bytes <= PAYLOAD_LARGEST
            left = event.payload_bytes
        elif isinstance(event, bytes) and left:
            assert len(event) <= left
            left -= len(event)
        elif isinstance(event, bytes):
            assert 4 <= len(event) <= 1472, "a control packet of an impossible length"


def _decoded(stream: bytes, cuts: list[int], *, blksize: int = 0, index: int = 0) -> Told:
    """What a decoder tells, payloads joined, and how it ends."""
    decoder = FrameDecoder(_ARENA_BYTES)
    told: Told = []
    joining = False
    sizes = cycle(cuts)
    at = 0
    try:
        while at < len(stream):
            space = decoder.space()
            piece = stream[at : at + min(next(sizes), len(space))]
            space[: len(piece)] = piece
            decoder.received(len(piece))
            at += len(piece)
            joining = _take(decoder, told, joining, (blksize, index))
    except RemoteError:
        return [*told, _REFUSED]
    return [*told, f"mid frame: {decoder.mid_frame}"]


def _take(decoder: FrameDecoder, told: Told, joining: bool, run: tuple[int, int]) -> bool:
    """All events that there are; `joining` says whether the last one was a piece of payload."""
    blksize, index = run
    while True:
        blocks = decoder.poll_run(blksize, index, _NUMBERING) if blksize else []
        for offset, payload in enumerate(blocks):
            told += [DataHeader((index + offset) & 0xFFFF, len(payload)), bytes(payload)]
            joining = True
        event: Event | None = None if blocks else decoder.poll_event()
        if event is None and not blocks:
            return joining
        joining = _note(told, joining, event) if event is not None else joining


def _note(told: Told, joining: bool, event: Event) -> bool:
    if not isinstance(event, memoryview):
        told.append(event)
        return False
    assert len(event), "an empty piece of payload"
    if joining:
        last = told.pop()
        assert isinstance(last, bytes)
        told.append(last + event)
    else:
        told.append(bytes(event))
    return True
