"""Memory for bursts: one `bytearray` of equal slots, each a DATA packet.

A slot is the four bytes of header and `blksize` bytes of payload, so slots that follow each other are what one system
call with UDP_SEGMENT sends and what one with UDP_GRO receives. Opcodes are written once, block numbers as byte planes,
payloads by the kernel (`preadv` into `payloads`). Nothing here knows files or sockets.
"""

from __future__ import annotations

from blockstep.protocol.errors import LocalError
from blockstep.protocol.numbers import LONGEST_RUN, Numbering

HEADER_BYTES = 4


class Arena:
    """`slots` DATA packets of `blksize` bytes of payload; `stride` = blksize + 4 bytes from one to the next.

    `memory` holds all of them, `payloads[i]` is a view of the payload of slot i.
    """

    __slots__ = ("blksize", "memory", "payloads", "slots", "stride", "view")

    def __init__(self, slots: int, blksize: int) -> None:
        if not 1 <= slots <= LONGEST_RUN:
            raise LocalError(f"an arena has 1 to {LONGEST_RUN} slots, not {slots}")
        stride = HEADER_BYTES + blksize
        self.blksize = blksize
        self.slots = slots
        self.stride = stride
        self.memory = bytearray(slots * stride)
        self.memory[1::stride] = b"\x03" * slots
        self.view = memoryview(self.memory)
        self.payloads = [self.view[start + HEADER_BYTES : start + stride] for start in range(0, slots * stride, stride)]

    def stamp(self, slot: int, index: int, count: int, numbering: Numbering) -> None:
        """Write the wire numbers of `count` blocks from block `index` on into the slots from `slot` on."""
        stride = self.stride
        start = slot * stride
        end = start + count * stride
        high, low = numbering.planes(index, count)
        self.memory[start + 2 : end : stride] = high
        self.memory[start + 3 : end : stride] = low
