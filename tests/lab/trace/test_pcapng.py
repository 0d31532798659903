"""pcapng: units, options, kinds of blocks, sections."""

from __future__ import annotations

import struct

import pytest

from blockstep_lab.trace.frames import BLOCK_LARGEST, Frame
from blockstep_lab.trace.reader import CaptureReader
from support.capture_bytes import PACKET, block, enhanced, interface, option, read, section


@pytest.mark.parametrize("order", "<>")
def test_pcapng_in_both_byte_orders(order: str) -> None:
    frames = read(section(order) + interface(order=order) + enhanced(7, order=order))
    assert frames == [Frame(1, 7_000, 101, PACKET, 60)]


@pytest.mark.parametrize(
    ("unit", "ticks", "time_ns"),
    [(6, 5, 5_000), (9, 5, 5), (3, 5, 5_000_000), (0x80 | 10, 1024, 1_000_000_000), (0x80 | 1, 1, 500_000_000)],
)
def test_pcapng_time_units(unit: int, ticks: int, time_ns: int) -> None:
    assert read(section() + interface(option(9, bytes([unit]))) + enhanced(ticks))[0].time_ns == time_ns


def test_pcapng_time_offset_and_comment() -> None:
    described = interface(option(14, struct.pack("<q", 100)))
    (frame,) = read(section() + described + enhanced(1, option(1, b"lost: rule") + option(1, b"second")))
    assert frame.time_ns == 100_000_001_000
    assert frame.comment == "lost: rule; second"


def test_pcapng_frames_of_the_other_two_kinds() -> None:
    old = struct.pack("<HHIIII", 0, 3, 0, 9, len(PACKET), len(PACKET)) + PACKET
    simple = struct.pack("<I", len(PACKET)) + PACKET
    frames = read(section() + interface() + block(2, old) + block(3, simple))
    assert [(frame.number, frame.time_ns, frame.data) for frame in frames] == [(1, 9_000, PACKET), (2, 9_000, PACKET)]


def test_a_new_section_has_its_own_byte_order_and_interfaces() -> None:
    first = section() + interface(link=1) + enhanced(1)
    second = section(">") + interface(order=">", link=113) + enhanced(2, order=">")
    assert [frame.link_type for frame in read(first + second)] == [1, 113]


def test_a_large_unknown_block_is_skipped_without_being_kept() -> None:
    reader = CaptureReader()
    list(reader.feed(section() + interface()))
    large = block(0x0BAD, bytes(4 * BLOCK_LARGEST))
    kept_most = 0
    for at in range(0, len(large), 8192):
        assert not list(reader.feed(large[at : at + 8192]))
        kept_most = max(kept_most, len(vars(reader._format)["_kept"]))
    assert [frame.data for frame in reader.feed(enhanced(1))] == [PACKET]
    assert kept_most <= 2 * 8192


def test_dropped_frames_are_counted() -> None:
    reader = CaptureReader()
    statistics = block(5, struct.pack("<III", 0, 0, 0) + option(5, struct.pack("<Q", 12)))
    list(reader.feed(section() + interface() + statistics))
    assert reader.dropped == 12
