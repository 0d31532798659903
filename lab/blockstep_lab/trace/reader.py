"""One reader for every capture file: looks at the first octets, then hands over to the format's own.

Rules of this file: it reads in pieces of bounded size and never asks for a position, so a pipe is as good as a file
(`tcpdump -w - | blockstep trace -`). A compressed capture is refused by name instead of as "unknown".
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO, Protocol

from blockstep_lab.trace import pcapng
from blockstep_lab.trace.frames import CaptureError, Frame
from blockstep_lab.trace.pcap import MAGICS, PcapReader
from blockstep_lab.trace.pcapng import PcapngReader

__all__ = ["CaptureReader", "read_frames"]

_PIECE = 1 << 20
_REFUSED = {
    b"\x1f\x8b": "the capture is compressed: gunzip it first",
    b"\x28\xb5": "the capture is compressed: unzstd it first",
    b"\x04\x22": "the capture is compressed: unlz4 it first",
}


class _Format(Protocol):
    def feed(self, data: bytes) -> Iterator[Frame]: ...

    def finish(self) -> None: ...


class CaptureReader:
    """pcap or pcapng, in pieces of any size. Gives frames or raises CaptureError, and nothing else."""

    def __init__(self) -> None:
        self._first = b""
        self._format: _Format | None = None

    def feed(self, data: bytes) -> Iterator[Frame]:
        """The frames that are complete with `data`."""
        if self._format is None:
            self._first += data
            if len(self._first) < 4:
                return
            self._format, data, self._first = _format_of(self._first[:4]), self._first, b""
        yield from self._format.feed(data)

    def finish(self) -> None:
        """Call at the end of the file: CaptureCut if it ended inside a frame."""
        if self._format is None:
            raise CaptureError("the capture file is empty" if not self._first else "too short for a capture file")
        self._format.finish()

    @property
    def dropped(self) -> int:
        """Frames that the capturing program says it lost (only pcapng can say so)."""
        return self._format.dropped if isinstance(self._format, PcapngReader) else 0


def read_frames(stream: BinaryIO, reader: CaptureReader) -> Iterator[Frame]:
    """Every frame of an open capture; raises as `reader` does. The caller keeps `reader` to ask what was dropped."""
    while piece := stream.read(_PIECE):
        yield from reader.feed(piece)
    reader.finish()


def _format_of(magic: bytes) -> _Format:
    if magic in MAGICS:
        return PcapReader()
    if magic == pcapng.MAGIC:
        return PcapngReader()
    raise CaptureError(_REFUSED.get(magic[:2], "not a capture file: unknown first four octets"))
