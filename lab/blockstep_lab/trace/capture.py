"""A whole capture, read and worked out: the one call that the command, the lab and tests make.

A capture that was cut short is analysed as far as it goes, and says so; any other damage is an error.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import BinaryIO

from blockstep_lab.trace.causes import explain_resends
from blockstep_lab.trace.conversations import Conversations, Spool
from blockstep_lab.trace.frames import CaptureCut, Frame
from blockstep_lab.trace.ip import DatagramReader
from blockstep_lab.trace.numbering import number_blocks
from blockstep_lab.trace.reader import CaptureReader, read_frames
from blockstep_lab.trace.sightings import Sightings
from blockstep_lab.trace.transfer import Transfer

__all__ = ["Capture", "read_capture"]


@dataclass(slots=True)
class Capture:
    """What was in the file. `skipped` counts frames without a UDP datagram by reason, `repeated` second sights of one
    packet, `others` datagrams outside any transfer, `dropped` what the capturing program says it lost. `cut` is the
    warning of a file that ends inside a frame."""

    transfers: list[Transfer]
    frames: int
    first_ns: int
    skipped: Counter[str]
    repeated: int
    others: int
    dropped: int
    cut: str = ""


def read_capture(stream: BinaryIO, spool: Spool | None = None) -> Capture:
    """Read an open capture to its end. `spool` is given every DATA payload. Raises CaptureError."""
    reader = CaptureReader()
    source = _Counted(read_frames(stream, reader))
    datagrams, sightings, conversations = DatagramReader(), Sightings(), Conversations(spool)
    cut = ""
    try:
        for frame in source:
            datagram = datagrams.maybe_datagram(frame)
            if datagram is not None and sightings.is_new(datagram):
                conversations.add(datagram)
    except CaptureCut as error:
        cut = str(error)
    transfers = conversations.finish()
    for transfer in transfers:
        number_blocks(transfer)
        explain_resends(transfer)
    return Capture(
        transfers=transfers,
        frames=source.count,
        first_ns=source.first_ns,
        skipped=datagrams.skipped,
        repeated=sightings.repeated,
        others=conversations.others,
        dropped=reader.dropped,
        cut=cut,
    )


class _Counted:
    """Passes frames on, counts them and keeps the time of the first."""

    def __init__(self, frames: Iterable[Frame]) -> None:
        self.count = 0
        self.first_ns = 0
        self._frames = iter(frames)

    def __iter__(self) -> _Counted:
        return self

    def __next__(self) -> Frame:
        frame = next(self._frames)
        if not self.count:
            self.first_ns = frame.time_ns
        self.count += 1
        return frame
