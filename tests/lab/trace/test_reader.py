"""The reader: whatever the octets are, frames or a CaptureError, and the same however they are cut."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from blockstep_lab.trace.frames import CaptureError
from support.capture_bytes import interface, read, section

CAPTURES = sorted((Path(__file__).parent / "captures").glob("*.pcap*"))


@pytest.mark.parametrize("path", CAPTURES, ids=lambda path: path.name)
@pytest.mark.parametrize("piece", [1, 7, 4096])
def test_frames_do_not_depend_on_how_the_file_is_cut(path: Path, piece: int) -> None:
    octets = path.read_bytes()
    assert read(octets, piece) == read(octets)


@given(octets=st.binary(max_size=300))
@example(octets=b"\x0a\x0d\x0d\x0a" + bytes(40))
def test_any_octets_give_frames_or_a_capture_error(octets: bytes) -> None:
    for magic in (b"", b"\xd4\xc3\xb2\xa1", section(), section() + interface()):
        with suppress(CaptureError):
            read(magic + octets, 64)


@given(data=st.data())
def test_a_damaged_capture_gives_frames_or_a_capture_error(data: st.DataObject) -> None:
    octets = bytearray(data.draw(st.sampled_from(CAPTURES)).read_bytes()[:2000])
    for at in data.draw(st.lists(st.integers(0, len(octets) - 1), max_size=8)):
        octets[at] = data.draw(st.integers(0, 255))
    with suppress(CaptureError):
        read(bytes(octets))
