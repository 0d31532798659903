"""Packets in a stream of bytes: each behind its length, four octets, big-endian.

Rules of this file:

* It knows lengths and one opcode. A frame holds 4 octets (an ACK, an empty DATA) to 1 MiB + 4 (a full DATA); only DATA
  may be longer than the packets of a datagram. A length beyond that is refused on sight, before a byte behind it is
  taken; so nobody makes us wait for, or store, what we would not read.
* The payload of DATA is never gathered. The driver receives into the decoder's arena, and what has come of a payload is
  handed out at once as a view of it, so a block may be larger than the arena and is not copied on its way. Only what is
  small is carried over to the next read: a cut header or control packet, 1476 bytes at most.
* Full blocks that stand whole behind each other are checked as byte planes and handed out in one go (`poll_run`), so
  that small blocks do not cost a call each. What is no such run comes as events, which say the same.
* How the bytes were cut on their way changes nothing but where payloads are cut: the events are the same.
* The other direction has its own arena: equal frames behind each other, so that small blocks travel many to a call.

What packets mean is the business of `wire` and `stream`.
"""

from __future__ import annotations

from dataclasses import dataclass

from blockstep.protocol.errors import ErrorCode, LocalError, RemoteError
from blockstep.protocol.numbers import LONGEST_RUN, Numbering
from blockstep.protocol.wire import REQUEST_LARGEST_ACCEPTED, Opcode

__all__ = [
    "FRAME_HEADER_BYTES",
    "LENGTH_BYTES",
    "PAYLOAD_LARGEST",
    "DataHeader",
    "Event",
    "FrameArena",
    "FrameDecoder",
    "frame",
]

LENGTH_BYTES = 4
FRAME_HEADER_BYTES = 8
"""Length, opcode and wire number: what stands before the payload of a DATA frame."""
PAYLOAD_LARGEST = 1 << 20

_PACKET_SMALLEST = 4
_PACKET_LARGEST = PAYLOAD_LARGEST + 4
_CONTROL_LARGEST = REQUEST_LARGEST_ACCEPTED
_ARENA_SMALLEST = LENGTH_BYTES + _CONTROL_LARGEST
_DATA = int(Opcode.DATA)


def frame(packet: bytes) -> bytes:
    """`packet`, 4 to 1472 octets and no DATA, behind its length. LocalError for another length."""
    if not _PACKET_SMALLEST <= len(packet) <= _CONTROL_LARGEST:
        raise LocalError(f"a control packet in a frame has 4 to {_CONTROL_LARGEST} octets, not {len(packet)}")
    return len(packet).to_bytes(LENGTH_BYTES, "big") + packet


@dataclass(frozen=True, slots=True)
class DataHeader:
    """A DATA frame has begun: its wire number and the length of its payload, 0 to 1 MiB. The pieces of it follow."""

    block: int
    payload_bytes: int


Event = DataHeader | memoryview | bytes
"""A DATA frame begins | the next bytes of its payload, at least one | a whole control packet, not yet parsed."""


class FrameDecoder:
    """Frames out of a stream, in whatever pieces it comes.

    Receive into `space()`, tell `received()`, then call `poll_event()` until it returns None. Payload views are valid
    until the next `space()`. After a RemoteError the stream has lost its order and nothing more can be read from it.
    """

    def __init__(self, arena_bytes: int = 1 << 20) -> None:
        if arena_bytes < _ARENA_SMALLEST:
            raise LocalError(f"an arena for frames has at least {_ARENA_SMALLEST} bytes, not {arena_bytes}")
        self._memory = bytearray(arena_bytes)
        self._view = memoryview(self._memory)
        self._start = 0
        self._end = 0
        self._payload_left = 0
        self._no_run_before = 0
        self._drained = True
        self._broken = False

    @property
    def mid_frame(self) -> bool:
        """True when a frame has begun and not ended: here no peer may stop. Ask when `poll_event` has nothing."""
        return self._payload_left > 0 or self._start < self._end

    def space(self) -> memoryview:
        """Where to receive next, never empty. LocalError while `poll_event` has something."""
        self._require_order()
        if not self._drained:
            raise LocalError("there are events that nobody has taken")
        kept = self._end - self._start
        if self._start:
            self._memory[:kept] = self._view[self._start : self._end]
            self._start, self._end = 0, kept
        self._no_run_before = 0
        return self._view[kept:]

    def received(self, count: int) -> None:
        """`count` bytes have been received to the start of `space()`."""
        if not 0 <= count <= len(self._view) - self._end:
            raise LocalError(f"{count} bytes do not fit into the space that there was")
        self._end += count
        self._drained = False

    def poll_event(self) -> Event | None:  # hot path
        """The next event, or None when more must be received. RemoteError for a frame that cannot be."""
        self._require_order()
        start = self._start
        have = self._end - start
        if self._payload_left and have:
            end = start + min(have, self._payload_left)
            self._payload_left -= end - start
            self._start = end
            return self._view[start:end]
        if have < LENGTH_BYTES or self._payload_left:
            self._drained = True
            return None
        length = int.from_bytes(self._view[start : start + LENGTH_BYTES], "big")
        if not _PACKET_SMALLEST <= length <= _PACKET_LARGEST:
            raise self._refused(f"a frame has {_PACKET_SMALLEST} to {_PACKET_LARGEST} octets")
        if have < FRAME_HEADER_BYTES:
            self._drained = True
            return None
        opcode, number = _two_words(self._view[start + LENGTH_BYTES : start + FRAME_HEADER_BYTES])
        if opcode == _DATA:
            self._start = start + FRAME_HEADER_BYTES
            self._payload_left = length - 4
            return DataHeader(number, length - 4)
        return self._control(length, have)

    def poll_run(self, blksize: int, index: int, numbering: Numbering) -> list[memoryview]:  # hot path
        """The payloads of full blocks from block `index` on, if at least two stand here whole, else an empty list.

        Nothing is lost by not asking: `poll_event` gives the same blocks, one after another.
        """
        start, stride = self._start, FRAME_HEADER_BYTES + blksize
        count = min((self._end - start) // stride, LONGEST_RUN)
        if count < 2 or self._payload_left or start < self._no_run_before:
            return []
        end = start + count * stride
        constant = (bytes([octet]) * count for octet in _data_head(blksize))
        for at, plane in enumerate((*constant, *numbering.planes(index, count))):
            if self._memory[start + at : end : stride] != plane:
                self._no_run_before = end
                return []
        self._start = end
        return [self._view[at : at + blksize] for at in range(start + FRAME_HEADER_BYTES, end, stride)]

    def _control(self, length: int, have: int) -> bytes | None:
        if length > _CONTROL_LARGEST:
            raise self._refused(f"only DATA may be longer than {_CONTROL_LARGEST} octets")
        if have < LENGTH_BYTES + length:
            self._drained = True
            return None
        start = self._start + LENGTH_BYTES
        self._start = start + length
        return bytes(self._view[start : start + length])

    def _refused(self, text: str) -> RemoteError:
        self._broken = True
        return RemoteError(ErrorCode.ILLEGAL_OPERATION, text)

    def _require_order(self) -> None:
        if self._broken:
            raise LocalError("the stream has lost its order")


def _two_words(view: memoryview) -> tuple[int, int]:
    both = int.from_bytes(view, "big")
    return both >> 16, both & 0xFFFF


class FrameArena:
    """`slots` DATA frames of `blksize` bytes of payload each, behind each other, to be filled and sent in one go.

    `payloads[i]` is a view of the payload of slot i.
    """

    __slots__ = ("_memory", "_stride", "blksize", "payloads", "slots", "view")

    def __init__(self, slots: int, blksize: int) -> None:
        if slots < 1 or not 1 <= blksize <= PAYLOAD_LARGEST:
            raise LocalError(f"no arena has {slots} slots of {blksize} bytes")
        self.blksize = blksize
        self.slots = slots
        self._stride = stride = FRAME_HEADER_BYTES + blksize
        self._memory = bytearray(slots * stride)
        self.view = memoryview(self._memory)
        starts = range(0, slots * stride, stride)
        self.payloads = [self.view[start + FRAME_HEADER_BYTES : start + stride] for start in starts]
        for start in starts:
            self._memory[start : start + 6] = _data_head(blksize)

    def frames(self, index: int, got_bytes: int, numbering: Numbering) -> tuple[memoryview, int]:
        """The first slots hold `got_bytes` of payload from block `index` on: (frames to send, how many they are).

        Fewer bytes than the arena holds mean the end of the file: the last frame is then a short one, maybe empty.
        """
        full, rest = divmod(got_bytes, self.blksize)
        if full > self.slots or (full == self.slots and rest):
            raise LocalError(f"{got_bytes} bytes are more than the arena holds")
        count = min(full + 1, self.slots)
        self._stamp(index, count, numbering)
        if full == self.slots:
            return self.view, count
        start = full * self._stride
        self._memory[start : start + 6] = _data_head(rest)
        return self.view[: start + FRAME_HEADER_BYTES + rest], count

    def _stamp(self, index: int, count: int, numbering: Numbering) -> None:
        high, low = numbering.planes(index, count)
        end = count * self._stride
        self._memory[6 : end : self._stride] = high
        self._memory[7 : end : self._stride] = low


def _data_head(payload_bytes: int) -> bytes:
    return (payload_bytes + 4).to_bytes(LENGTH_BYTES, "big") + b"\0\3"
