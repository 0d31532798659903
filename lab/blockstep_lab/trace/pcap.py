"""Classic pcap files, read incrementally: bytes in, frames out.

Rules of this file: both byte orders, time stamps in microseconds or nanoseconds (by the magic number). The link type is
the low 16 bits of the header's last field; the rest says how long the frame check sequence is, which no layer above
minds. A record that claims more than any link carries is an error and not an allocation.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from blockstep_lab.trace.frames import FRAME_LARGEST, CaptureCut, CaptureError, Frame

__all__ = ["MAGICS", "PcapReader"]

# magic number as it stands in the file -> byte order for struct, nanoseconds in one unit of the fraction
MAGICS = {
    b"\xa1\xb2\xc3\xd4": (">", 1000),
    b"\xd4\xc3\xb2\xa1": ("<", 1000),
    b"\xa1\xb2\x3c\x4d": (">", 1),
    b"\x4d\x3c\xb2\xa1": ("<", 1),
}
_FILE_HEADER = 24
_RECORD_HEADER = 16


class PcapReader:
    """Feed it the file in pieces of any size, then `finish()`."""

    def __init__(self) -> None:
        self._kept = bytearray()
        self._record: struct.Struct | None = None
        self._fraction_ns = 0
        self._link_type = 0
        self._number = 0

    def feed(self, data: bytes) -> Iterator[Frame]:
        """The frames that are complete with `data`; CaptureError at the first thing that is no pcap."""
        self._kept += data
        at = self._read_header() if self._record is None else 0
        if self._record is None:
            return
        kept = self._kept
        while len(kept) - at >= _RECORD_HEADER:
            seconds, fraction, captured, length = self._record.unpack_from(kept, at)
            if captured > FRAME_LARGEST:
                raise CaptureError(f"frame {self._number + 1} claims {captured} octets: the capture file is damaged")
            end = at + _RECORD_HEADER + captured
            if len(kept) < end:
                break
            self._number += 1
            time_ns = seconds * 1_000_000_000 + fraction * self._fraction_ns
            octets = bytes(kept[at + _RECORD_HEADER : end])
            yield Frame(self._number, time_ns, self._link_type, octets, max(length, captured))
            at = end
        del kept[:at]

    def finish(self) -> None:
        """CaptureCut if the file ended inside a record, CaptureError if inside its header."""
        if self._record is None:
            raise CaptureError("too short for a capture file")
        if self._kept:
            raise CaptureCut(f"the capture was cut short in the middle of frame {self._number + 1}")

    def _read_header(self) -> int:
        if len(self._kept) < _FILE_HEADER:
            return 0
        magic = bytes(self._kept[:4])
        if magic not in MAGICS:
            raise CaptureError("not a capture file: unknown first four octets")
        order, self._fraction_ns = MAGICS[magic]
        major, _minor, _zone, _accuracy, _snap, link = struct.unpack_from(order + "HHiIII", self._kept, 4)
        if major != 2:
            raise CaptureError(f"pcap version {major} is not known, only 2")
        self._link_type = link & 0xFFFF
        self._record = struct.Struct(order + "IIII")
        return _FILE_HEADER
