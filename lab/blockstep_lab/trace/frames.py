"""What every capture format comes down to: frames with a time, a link type and the bytes that were kept.

Also here: the one error that a broken capture file gives, and the bounds that keep a hostile one from eating memory.
"""

from __future__ import annotations

from typing import NamedTuple

from blockstep.protocol.errors import TftpError

__all__ = ["BLOCK_LARGEST", "FRAME_LARGEST", "CaptureCut", "CaptureError", "Frame"]

# Larger than any link's packet and than what capture programs write; Wireshark draws the same line.
FRAME_LARGEST = 262_144
# A pcapng block: one frame and its options. Larger blocks of a kind that we skip are skipped without being kept.
BLOCK_LARGEST = FRAME_LARGEST + 65_536


class CaptureError(TftpError):
    """The file is no capture that can be read. `str(error)` says why and where; it never quotes the file."""


class CaptureCut(CaptureError):
    """The capture ends in the middle of a frame, as it does when the capturing program was killed.

    Every frame before the cut has been given out, so a caller may warn and go on.
    """


class Frame(NamedTuple):
    """One captured frame.

    `number` counts from 1 as Wireshark's `frame.number`; `time_ns` is nanoseconds since the epoch; `link_type` is a
    LINKTYPE_ number; `data` holds the octets that were kept, at most `length`, the octets on the wire; `interface`
    counts the capture's interfaces from 0; `comment` is what the capturing program wrote about this frame.
    """

    number: int
    time_ns: int
    link_type: int
    data: bytes
    length: int
    interface: int = 0
    comment: str = ""
