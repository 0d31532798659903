"""pcapng files, read incrementally: bytes in, frames out.

Rules of this file (draft-ietf-opsawg-pcapng): a file is a row of sections, each with its own byte order and its own
interfaces; a block that is not known is skipped by its length. Frames come from Enhanced, Simple and the obsolete
Packet blocks. Of the options only four matter: the unit and offset of time stamps, a frame's comment, and the count of
frames that the capturing program lost. Every length is checked before it is believed.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import NamedTuple

from blockstep_lab.trace.frames import BLOCK_LARGEST, FRAME_LARGEST, CaptureCut, CaptureError, Frame

__all__ = ["MAGIC", "PcapngReader"]

MAGIC = b"\x0a\x0d\x0d\x0a"
_BYTE_ORDERS = {b"\x1a\x2b\x3c\x4d": ">", b"\x4d\x3c\x2b\x1a": "<"}
_SMALLEST = 12
# More than any real capture has; a file of nothing but interface blocks must not fill memory.
_INTERFACES_MOST = 65_536

_SECTION, _INTERFACE, _OLD_PACKET, _SIMPLE, _STATISTICS, _ENHANCED = 0x0A0D0D0A, 1, 2, 3, 5, 6
_OPTION_END, _OPTION_COMMENT, _OPTION_DROPPED, _OPTION_UNIT, _OPTION_OFFSET = 0, 1, 5, 9, 14


class _Interface(NamedTuple):
    link_type: int
    snap_length: int
    units_per_s: int
    offset_s: int


class PcapngReader:
    """Feed it the file in pieces of any size, then `finish()`.

    `dropped` counts the frames that the capturing program says it lost.
    """

    def __init__(self) -> None:
        self.dropped = 0
        self._kept = bytearray()
        self._skip = 0
        self._order = ""
        self._interfaces: list[_Interface] = []
        self._number = 0
        self._last_ns = 0
        self._frames: dict[int, Callable[[bytes], Frame]] = {
            _OLD_PACKET: self._old_packet,
            _SIMPLE: self._simple_packet,
            _ENHANCED: self._enhanced_packet,
        }

    def feed(self, data: bytes) -> Iterator[Frame]:
        """The frames that are complete with `data`; CaptureError at the first thing that is no pcapng."""
        self._kept += data
        at = 0
        while True:
            skipped = min(self._skip, len(self._kept) - at)
            self._skip -= skipped
            at += skipped
            length = self._block_length(at)
            if length > BLOCK_LARGEST:
                self._skip = length
                continue
            if not length or len(self._kept) - at < length:
                break
            block = bytes(self._kept[at : at + length])
            at += length
            if (frame := self._maybe_frame(block)) is not None:
                yield frame
        del self._kept[:at]

    def finish(self) -> None:
        """CaptureCut if the file ended inside a block, CaptureError if inside the first one."""
        if not self._order:
            raise CaptureError("too short for a capture file")
        if self._kept or self._skip:
            raise CaptureCut(f"the capture was cut short after frame {self._number}")

    def _block_length(self, at: int) -> int:
        """Octets of the block at `at`; 0 while that cannot be said yet. Only a block that we skip may be large."""
        if len(self._kept) - at < _SMALLEST:
            return 0
        if self._kept[at : at + 4] == MAGIC:
            magic = bytes(self._kept[at + 8 : at + 12])
            if magic not in _BYTE_ORDERS:
                raise self._damaged("a section with an unknown byte order")
            self._order = _BYTE_ORDERS[magic]
        kind, length = struct.unpack_from(self._order + "II", self._kept, at)
        if length < _SMALLEST or length % 4:
            raise self._damaged(f"a block of {length} octets")
        if length > BLOCK_LARGEST and (kind in (_SECTION, _INTERFACE) or kind in self._frames):
            raise self._damaged(f"a block that claims {length} octets")
        return int(length)

    def _maybe_frame(self, block: bytes) -> Frame | None:
        kind, length = struct.unpack_from(self._order + "II", block)
        if struct.unpack_from(self._order + "I", block, length - 4)[0] != length:
            raise self._damaged("a block whose two lengths differ")
        body = block[8:-4]
        if kind in self._frames:
            return self._frames[kind](body)
        if kind == _SECTION:
            self._interfaces = []
        elif kind == _INTERFACE:
            self._add_interface(body)
        elif kind == _STATISTICS:
            self._add_statistics(body)
        return None

    def _add_interface(self, body: bytes) -> None:
        link_type, _, snap_length = self._unpack("HHI", body)
        if len(self._interfaces) >= _INTERFACES_MOST:
            raise self._damaged(f"more than {_INTERFACES_MOST} interfaces")
        units, offset = 1_000_000, 0
        for code, value in self._options(body[8:]):
            if code == _OPTION_UNIT and len(value) == 1:
                exponent = value[0] & 0x7F
                units = 2**exponent if value[0] & 0x80 else 10**exponent
            elif code == _OPTION_OFFSET and len(value) == 8:
                offset = struct.unpack(self._order + "q", value)[0]
        self._interfaces.append(_Interface(link_type, snap_length, units, offset))

    def _add_statistics(self, body: bytes) -> None:
        self._unpack("III", body)
        for code, value in self._options(body[12:]):
            if code == _OPTION_DROPPED and len(value) == 8:
                self.dropped += struct.unpack(self._order + "Q", value)[0]

    def _enhanced_packet(self, body: bytes) -> Frame:
        interface, high, low, captured, length = self._unpack("IIIII", body)
        return self._frame(interface, high << 32 | low, (captured, length), body[20:])

    def _old_packet(self, body: bytes) -> Frame:
        interface, _, high, low, captured, length = self._unpack("HHIIII", body)
        return self._frame(interface, high << 32 | low, (captured, length), body[20:])

    def _simple_packet(self, body: bytes) -> Frame:
        """A frame of interface 0 without a time: it gets that of the frame before it, so that order is kept."""
        (length,) = self._unpack("I", body)
        captured = min(length, len(body) - 4)
        if self._interfaces and self._interfaces[0].snap_length:
            captured = min(captured, self._interfaces[0].snap_length)
        return self._frame(0, None, (captured, length), body[4:])

    def _frame(self, interface: int, ticks: int | None, lengths: tuple[int, int], rest: bytes) -> Frame:
        """`lengths` are the octets that were kept and those on the wire; `rest` is the octets and then options."""
        captured, length = lengths
        if interface >= len(self._interfaces):
            raise self._damaged("a frame of an interface that was not described")
        if captured > FRAME_LARGEST or captured > len(rest):
            raise self._damaged(f"a frame that claims {captured} octets")
        described = self._interfaces[interface]
        if ticks is not None:
            self._last_ns = described.offset_s * 1_000_000_000 + ticks * 1_000_000_000 // described.units_per_s
        self._number += 1
        options = rest[captured + -captured % 4 :]
        comment = self._comment(options) if options and ticks is not None else ""
        octets = rest[:captured]
        return Frame(
            self._number, self._last_ns, described.link_type, octets, max(length, captured), interface, comment
        )

    def _comment(self, options: bytes) -> str:
        texts = [value for code, value in self._options(options) if code == _OPTION_COMMENT]
        return "; ".join(text.decode("utf-8", "backslashreplace") for text in texts)

    def _options(self, options: bytes) -> Iterator[tuple[int, bytes]]:
        at = 0
        while len(options) - at >= 4:
            code, length = struct.unpack_from(self._order + "HH", options, at)
            if code == _OPTION_END:
                return
            if length > len(options) - at - 4:
                raise self._damaged("an option that is longer than its block")
            yield code, options[at + 4 : at + 4 + length]
            at += 4 + length + -length % 4

    def _unpack(self, layout: str, body: bytes) -> tuple[int, ...]:
        shape = struct.Struct(self._order + layout)
        if len(body) < shape.size:
            raise self._damaged("a block that is too short for its kind")
        return shape.unpack_from(body)

    def _damaged(self, what: str) -> CaptureError:
        return CaptureError(f"after frame {self._number} the capture file is damaged: {what}")
