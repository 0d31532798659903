"""What is no capture, or only part of one, is named."""

from __future__ import annotations

import struct

import pytest

from blockstep.protocol.errors import TftpError
from blockstep_lab.trace.frames import CaptureCut, CaptureError
from blockstep_lab.trace.reader import CaptureReader
from support.capture_bytes import block, enhanced, interface, pcap, read, section


@pytest.mark.parametrize(
    ("octets", "what"),
    [
        (b"", "empty"),
        (b"ab", "too short"),
        (b"this is no capture", "not a capture"),
        (b"\x1f\x8b\x08\x00rest", "gunzip"),
        (pcap()[:20], "too short"),
        (pcap()[:24] + struct.pack("<IIII", 0, 0, 1 << 30, 1 << 30), "damaged"),
        (section()[:-4] + b"\0\0\0\0", "lengths differ"),
        (section() + block(1, b"\0\0"), "too short for its kind"),
        (section() + interface() + enhanced(1, number=3), "not described"),
        (section() + interface(b"\x01\x00\xff\xff"), "longer than its block"),
        (section() + struct.pack("<III", 6, 1 << 30, 0), "claims"),
        (section() + struct.pack("<III", 6, 14, 0), "a block of 14"),
    ],
)
def test_what_is_no_capture_is_named(octets: bytes, what: str) -> None:
    with pytest.raises(CaptureError, match=what):
        read(octets)


@pytest.mark.parametrize("octets", [pcap(records=3), section() + interface() + enhanced(1) * 3])
def test_a_cut_capture_gives_what_is_whole_and_says_so(octets: bytes) -> None:
    reader = CaptureReader()
    assert len(list(reader.feed(octets[:-5]))) == 2
    with pytest.raises(CaptureCut):
        reader.finish()


def test_both_errors_are_the_projects() -> None:
    assert issubclass(CaptureCut, CaptureError)
    assert issubclass(CaptureError, TftpError)
