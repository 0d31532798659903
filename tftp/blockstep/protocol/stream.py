"""A transfer on a stream: the same request, options, packets and errors as in datagrams, and none of the repairing.

Decided here:

* DATA frames follow each other without acknowledgement, from block 1 on in order; the first that is shorter than
  `blksize`, even empty, is the last. One ACK with its wire number is the receiver's word that the file is whole, synced
  and in its place. An OACK gets no ACK 0: the blocks may follow it at once.
* An ERROR that answers a request ends that transfer alone. After any other ERROR nobody knows what is still on its way,
  so the connection ends with the transfer. So does a stream that closes early: it never makes a short file.
* A server takes requests before their turn, up to `REQUESTS_WAITING`, and answers them in order.

Options are negotiated as ever (`options`), within `stream_limits`: blocks up to 1 MiB, no windowsize. `timeout` is how
long one side bears that nothing moves; clocks and sockets are the driver's.
"""

from __future__ import annotations

from collections import deque

from blockstep.protocol.errors import End, ErrorCode, LocalError, RemoteError, TransferFailed
from blockstep.protocol.framing import FRAME_HEADER_BYTES, PAYLOAD_LARGEST, DataHeader, FrameArena, FrameDecoder
from blockstep.protocol.machine import TransferStats
from blockstep.protocol.numbers import Numbering
from blockstep.protocol.options import TIMEOUT_LARGEST_S, Agreed, Limits, Wanted, accept
from blockstep.protocol.states import Role
from blockstep.protocol.stream_states import StreamInput, StreamState, follow
from blockstep.protocol.wire import (
    Ack,
    Data,
    ErrorPacket,
    Opcode,
    OptionAck,
    Packet,
    Request,
    ack_bytes,
    parse_untrusted,
    printable_untrusted,
)

__all__ = [
    "BLKSIZE_STREAM",
    "REQUESTS_WAITING",
    "Requests",
    "StreamOpening",
    "StreamReceiver",
    "StreamSender",
    "StreamTransfer",
    "stream_limits",
    "stream_wanted",
]

BLKSIZE_STREAM = 256 * 1024
"""What a client asks for unless it is told otherwise (docs/performance.md has the measurement)."""
REQUESTS_WAITING = 16

# Frames of small blocks travel together, about this many bytes at a time.
_BATCH_BYTES = 256 * 1024
_BATCH_FRAMES = 512


def stream_limits(
    *,
    blksize_max: int = PAYLOAD_LARGEST,
    timeout_max_s: int = TIMEOUT_LARGEST_S,
    refuse: frozenset[str] = frozenset(),
) -> Limits:
    """What a server grants at most on a stream: `Limits` with larger blocks and without windowsize."""
    return Limits(
        blksize_max=blksize_max,
        timeout_max_s=timeout_max_s,
        refuse=refuse | {"windowsize"},
        blksize_ceiling=PAYLOAD_LARGEST,
    )


def stream_wanted(
    *, blksize: int | None = BLKSIZE_STREAM, timeout_s: float | None = None, tsize: int | None = None
) -> Wanted:
    """What a client asks for on a stream: `Wanted` with larger blocks and without windowsize."""
    return Wanted(blksize=blksize, timeout_s=timeout_s, tsize=tsize, blksize_ceiling=PAYLOAD_LARGEST)


class Requests:
    """The requests of a server's connection that wait for their turn, unparsed and in order.

    A bad request is not an offence here: it is answered with ERROR when its turn comes.
    """

    def __init__(self) -> None:
        self._waiting: deque[bytes] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    def maybe_next(self) -> bytes | None:
        """The request whose turn it is, to be parsed, if there is one."""
        return self._waiting.popleft() if self._waiting else None

    def push_untrusted(self, packet: bytes) -> None:
        """Take a packet that begins like a request. RemoteError for any other, and for one too many."""
        if not is_request(packet):
            raise RemoteError(ErrorCode.ILLEGAL_OPERATION, "not a request")
        if len(self._waiting) >= REQUESTS_WAITING:
            raise RemoteError(ErrorCode.UNDEFINED, f"more than {REQUESTS_WAITING} requests are waiting")
        self._waiting.append(packet)


def is_request(packet: bytes) -> bool:
    """True when `packet` has the opcode of a request."""
    return packet[:2] in (b"\0\1", b"\0\2")


class StreamTransfer:
    """What the two directions share: state, counters and the peer's control packets.

    `requests` is where a server keeps requests that come before their turn; a client has none.
    """

    def __init__(self, role: Role, agreed: Agreed, requests: Requests | None = None) -> None:
        self.role = role
        self.state = StreamState.MOVING
        self.agreed = agreed
        self.stats = TransferStats()
        self._numbering = Numbering(agreed.rollover)
        self._requests = requests

    @property
    def finished(self) -> bool:
        """True when nothing more is to be sent or awaited."""
        return self.state in (StreamState.DONE, StreamState.FAILED)

    @property
    def delivered(self) -> bool:
        """True when the file is known to be whole at its destination."""
        return self.state is StreamState.DONE

    def fail(self) -> None:
        """End the transfer for a reason of the driver's: its file, a signal, its patience."""
        self.state = StreamState.FAILED

    def handle_packet_untrusted(self, packet: bytes) -> None:
        """A control packet. RemoteError for what may not come now, TransferFailed for the peer's ERROR."""
        self._require_open()
        try:
            if self._requests is not None and is_request(packet):
                self._follow(StreamInput.REQUEST)
                self._requests.push_untrusted(packet)
                return
            self._handle(parse_untrusted(packet))
        except RemoteError:
            self.state = StreamState.FAILED
            raise

    def handle_data(self, header: DataHeader) -> None:
        """A DATA frame begins. RemoteError where none may."""
        self._require_open()
        try:
            self._follow(StreamInput.DATA)
            self._check(header)
        except RemoteError:
            self.state = StreamState.FAILED
            raise

    def handle_closed(self) -> None:
        """The peer will send no more. TransferFailed unless that is of no consequence."""
        self._require_open()
        moving = self.state is StreamState.MOVING
        self._follow(StreamInput.CLOSED)
        if self.state is StreamState.FAILED:
            when = "in the middle of the file" if moving else "before it confirmed the file"
            raise TransferFailed(End.PEER_GONE, f"the connection was closed {when}")

    def _handle(self, packet: Packet) -> None:
        self._follow(_INPUT_OF[type(packet)])
        if isinstance(packet, ErrorPacket):
            raise peer_error(packet)
        if isinstance(packet, Ack) and packet.block != self._numbering.wire(self.stats.blocks):
            raise RemoteError(ErrorCode.ILLEGAL_OPERATION, "the ACK is not for the last block")

    def _check(self, header: DataHeader) -> None:
        """Whether this DATA may follow what has come."""

    def _follow(self, happened: StreamInput) -> None:
        self.state = follow(self.role, self.state, happened)

    def _require_open(self) -> None:
        if self.finished:
            raise LocalError(f"the transfer is {self.state.value}")


class StreamSender(StreamTransfer):
    """The sending half. Fill `arena.payloads`, send what `frames` returns, until the state is no longer MOVING."""

    def __init__(self, role: Role, agreed: Agreed, requests: Requests | None = None) -> None:
        super().__init__(role, agreed, requests)
        slots = max(1, min(_BATCH_FRAMES, _BATCH_BYTES // (FRAME_HEADER_BYTES + agreed.blksize)))
        self.arena = FrameArena(slots, agreed.blksize)

    def frames(self, got_bytes: int) -> memoryview:
        """`got_bytes` of the file stand in the arena: what to send now. Fewer than it holds are the end of the file."""
        if self.state is not StreamState.MOVING:
            raise LocalError(f"the transfer is {self.state.value}")
        frames, count = self.arena.frames(self.stats.blocks + 1, got_bytes, self._numbering)
        self.stats.blocks += count
        self.stats.payload_bytes += got_bytes
        if got_bytes < self.arena.slots * self.arena.blksize:
            self._follow(StreamInput.LAST)
        return frames


class StreamReceiver(StreamTransfer):
    """The receiving half: `handle_data`, `handle_payload` for its pieces, until SETTLING; then `settled`.

    `take_run` is a short cut for many small blocks.
    """

    def __init__(self, role: Role, agreed: Agreed, requests: Requests | None = None) -> None:
        super().__init__(role, agreed, requests)
        self._left = 0
        self._is_last = False

    def _check(self, header: DataHeader) -> None:
        if header.block != self._numbering.wire(self.stats.blocks + 1):
            raise RemoteError(ErrorCode.ILLEGAL_OPERATION, "the DATA is not the next block")
        if header.payload_bytes > self.agreed.blksize:
            raise RemoteError(ErrorCode.ILLEGAL_OPERATION, "the DATA is larger than was agreed")
        self.stats.blocks += 1
        self._left = header.payload_bytes
        self._is_last = header.payload_bytes < self.agreed.blksize
        self._maybe_last()

    def take_run(self, decoder: FrameDecoder) -> list[memoryview]:
        """The payloads of the full blocks that are next and whole in `decoder`, taken; empty for no such run."""
        if self.state is not StreamState.MOVING:
            return []
        payloads = decoder.poll_run(self.agreed.blksize, self.stats.blocks + 1, self._numbering)
        self.stats.blocks += len(payloads)
        self.stats.payload_bytes += len(payloads) * self.agreed.blksize
        return payloads

    def handle_payload(self, count: int) -> None:
        """`count` more bytes of the block's payload have been taken."""
        self._left -= count
        self.stats.payload_bytes += count
        self._maybe_last()

    def _maybe_last(self) -> None:
        if self._is_last and not self._left:
            self._follow(StreamInput.LAST)

    def settled(self) -> bytes:
        """The file is whole, synced and in its place: the ACK that says so."""
        self._follow(StreamInput.SETTLED)
        return ack_bytes(self._numbering.wire(self.stats.blocks))


class StreamOpening:
    """A client's request until it is answered. After `handle_*`, `agreed` holds and `transfer()` goes on."""

    def __init__(self, request: Request, wanted: Wanted) -> None:
        if wanted.windowsize is not None:
            raise LocalError("a stream has no windowsize")
        self.role = Role.GET if request.opcode is Opcode.RRQ else Role.PUT
        self.state = StreamState.ASKING
        self.agreed = Agreed()
        self.packet = request.to_bytes()
        self._wanted = wanted
        self._receiver: StreamReceiver | None = None

    def handle_packet_untrusted(self, packet: bytes) -> None:
        """The answer. TransferFailed if it is an ERROR (state REFUSED then), RemoteError if it is none."""
        answer = parse_untrusted(packet)
        self.state = follow(self.role, self.state, _INPUT_OF[type(answer)])
        if isinstance(answer, ErrorPacket):
            raise peer_error(answer)
        if isinstance(answer, Ack) and answer.block:
            raise RemoteError(ErrorCode.ILLEGAL_OPERATION, "a write request is answered with ACK 0")
        if isinstance(answer, OptionAck):
            self.agreed = accept(self._wanted, answer)

    def handle_data(self, header: DataHeader) -> None:
        """DATA 1 is the answer: no option holds, and the block is the transfer's first."""
        self.state = follow(self.role, self.state, StreamInput.DATA)
        self._receiver = StreamReceiver(Role.GET, self.agreed)
        self._receiver.handle_data(header)

    def handle_closed(self) -> None:
        """The peer closed instead of answering: TransferFailed."""
        self.state = follow(self.role, self.state, StreamInput.CLOSED)
        raise TransferFailed(End.PEER_GONE, "the connection was closed without an answer")

    def receiver(self) -> StreamReceiver:
        """The machine for a read that has been answered."""
        self._require(Role.GET)
        return self._receiver or StreamReceiver(Role.GET, self.agreed)

    def sender(self) -> StreamSender:
        """The machine for a write that has been answered."""
        self._require(Role.PUT)
        return StreamSender(Role.PUT, self.agreed)

    def _require(self, role: Role) -> None:
        if self.role is not role or self.state is not StreamState.MOVING:
            raise LocalError(f"this is a {self.role.value} that is {self.state.value}")


def peer_error(packet: ErrorPacket) -> TransferFailed:
    """What the peer's ERROR means for a transfer."""
    return TransferFailed(End.PEER_ERROR, printable_untrusted(packet.message) or "no text", packet.code)


_INPUT_OF: dict[type, StreamInput] = {
    Request: StreamInput.REQUEST,
    Data: StreamInput.DATA,
    Ack: StreamInput.ACK,
    OptionAck: StreamInput.OACK,
    ErrorPacket: StreamInput.ERROR,
}
