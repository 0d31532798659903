"""What a transfer in a capture is: its request, the pair of TIDs, the terms, and its packets in order.

Plain data, filled in two steps: `conversations` makes transfers with wire numbers as the capture goes by; when the
capture is over `numbering` and `causes` add block indexes and reasons, because some of them (which rollover it was, how
fast a side usually answers) are only known at the end.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from blockstep.protocol.errors import RemoteError
from blockstep.protocol.options import BLKSIZE_DEFAULT, decimal_untrusted
from blockstep.protocol.wire import Opcode, OptionAck, Packet, Request
from blockstep_lab.trace.ip import Endpoint

__all__ = ["Found", "Side", "Terms", "TextEdges", "TracedPacket", "Transfer", "Why"]


class Side(Enum):
    """Who sent a packet."""

    CLIENT = "client"
    SERVER = "server"

    @property
    def other(self) -> Side:
        return Side.SERVER if self is Side.CLIENT else Side.CLIENT


class Why(Enum):
    """What made a side send something again."""

    TIMER = "timer"
    GAP_ACK = "gap ACK"
    DUPLICATE_ACK = "duplicate ACK"
    DUPLICATE_DATA = "duplicate DATA"
    DUPLICATE_REQUEST = "duplicate request"
    COPY = "copied on the way"


@dataclass(frozen=True, slots=True)
class TextEdges:
    """What a check of netascii across blocks needs of one payload: first and last octet, and a lone CR inside."""

    first: int
    last: int
    lone_cr: bool


@dataclass(slots=True)
class TracedPacket:
    """One packet of a transfer.

    `opcode` is None for what could not be parsed; `error` then says why. `wire` is the number in DATA and ACK; `index`
    the block index that it means (0 for an OACK), None if it means none. `length` is the octets of a DATA's payload, of
    a request all of them; `digest` a checksum of the payload, None if the capture kept less. `content` holds control
    packets. `tid` is the server's endpoint; `stray` says that the client works with another one. `lost` is what the
    capturing link says it did to the packet, safe to print. `spooled` is where the payload was put, -1 for nowhere.
    `why` marks a resend.
    """

    frame: int
    time_ns: int
    side: Side
    tid: Endpoint
    opcode: Opcode | None
    wire: int = -1
    length: int = 0
    digest: int | None = None
    content: Packet | None = None
    error: RemoteError | None = None
    lost: str = ""
    spooled: int = -1
    edges: TextEdges | None = None
    stray: bool = False
    index: int | None = None
    why: Why | None = None


@dataclass(frozen=True, slots=True)
class Terms:
    """What both sides work with. Values out of range stay as granted: that is for `rules` to say."""

    blksize: int = BLKSIZE_DEFAULT
    windowsize: int = 1
    timeout_s: float | None = None
    tsize: int | None = None
    rollover: int | None = None
    granted: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, oack: OptionAck) -> Terms:
        """The terms that an OACK sets; a value that is no number sets nothing."""
        numbers = {name: decimal_untrusted(value) for name, value in oack.options}
        microseconds = numbers.get("utimeout")
        return cls(
            blksize=numbers.get("blksize") or numbers.get("blksize2") or BLKSIZE_DEFAULT,
            windowsize=numbers.get("windowsize") or 1,
            timeout_s=microseconds / 1e6 if microseconds else numbers.get("timeout"),
            tsize=numbers.get("tsize"),
            rollover=numbers.get("rollover"),
            granted=dict(oack.options),
        )


@dataclass(slots=True)
class Transfer:
    """One transfer. `asked` is where the request went, `peer` the TID that the client works with (None: no answer)."""

    number: int
    client: Endpoint
    asked: Endpoint
    request: Request
    packets: list[TracedPacket] = field(default_factory=list)
    terms: Terms = field(default_factory=Terms)
    peer: Endpoint | None = None

    @property
    def is_read(self) -> bool:
        return self.request.opcode == Opcode.RRQ

    @property
    def sender(self) -> Side:
        """The side that sends DATA."""
        return Side.SERVER if self.is_read else Side.CLIENT

    @property
    def own_packets(self) -> list[TracedPacket]:
        """The packets between the client and the TID that it works with."""
        return [packet for packet in self.packets if not packet.stray]

    def carries_data(self, packet: TracedPacket) -> bool:
        """True for DATA that is this transfer's: from the sending side, with a block index, to the right TID."""
        return packet.opcode == Opcode.DATA and packet.side is self.sender and not packet.stray and bool(packet.index)


# What a rule hands back: the packet that broke it, and a sentence.
Found = tuple[TracedPacket, str]
