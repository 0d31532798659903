"""Fragments put together, within bounds."""

from __future__ import annotations

from blockstep_lab.trace.fragments import Fragment, Reassembler


def test_fragments_do_not_wait_for_ever() -> None:
    reassembler = Reassembler()
    assert reassembler.maybe_whole("a", Fragment(0, True, bytes(8)), 0) is None
    assert reassembler.maybe_whole("a", Fragment(8, False, b"late"), 61_000_000_000) is None
    for key in range(5000):
        assert reassembler.maybe_whole(key, Fragment(0, True, bytes(8)), 0) is None
    assert len(vars(reassembler)["_waiting"]) <= 1025


def test_overlapping_fragments_keep_the_first_octets_seen() -> None:
    reassembler = Reassembler()
    assert reassembler.maybe_whole("a", Fragment(0, True, b"A" * 16), 0) is None
    assert reassembler.maybe_whole("a", Fragment(8, False, b"B" * 16), 0) == b"A" * 16 + b"B" * 8


def test_thousands_of_pieces_from_the_end_to_the_start_are_one_datagram() -> None:
    """The worst order; it took two seconds for 64 KiB when every piece had all of them sorted."""
    reassembler = Reassembler()
    whole = bytes(range(256)) * 255
    for offset in range(len(whole) - 8, 0, -8):
        fragment = Fragment(offset, offset + 8 < len(whole), whole[offset : offset + 8])
        assert reassembler.maybe_whole("a", fragment, 0) is None
    assert reassembler.maybe_whole("a", Fragment(0, True, whole[:8]), 0) == whole
