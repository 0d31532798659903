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
