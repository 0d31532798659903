from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blockstep.protocol.arena import HEADER_BYTES, Arena
from blockstep.protocol.errors import LocalError
from blockstep.protocol.numbers import LONGEST_RUN, Numbering


def test_payloads_are_views_of_the_slots() -> None:
    arena = Arena(3, 8)
    assert arena.stride == 12
    for slot, payload in enumerate(arena.payloads):
        payload[:] = bytes([slot + 1]) * 8
    assert bytes(arena.memory) == b"".join(b"\0\3\0\0" + bytes([slot + 1]) * 8 for slot in range(3))


@given(
    slots=st.integers(1, 80),
    blksize=st.integers(8, 40),
    index=st.integers(1, 2**33) | st.integers(65500, 65540),
    rollover=st.integers(0, 1),
    data=st.data(),
)
def test_stamping_equals_packing_each_block(
    slots: int, blksize: int, index: int, rollover: int, data: st.DataObject
) -> None:
    arena, numbering = Arena(slots, blksize), Numbering(rollover)
    slot = data.draw(st.integers(0, slots - 1))
    count = data.draw(st.integers(1, slots - slot))
    body = bytes(range(blksize))
    for payload in arena.payloads:
        payload[:] = body
    arena.stamp(slot, index, count, numbering)
    untouched = b"\0\3\0\0" + body
    stamped = [struct.pack(">HH", 3, numbering.wire(each)) + body for each in range(index, index + count)]
    assert bytes(arena.memory) == untouched * slot + b"".join(stamped) + untouched * (slots - slot - count)


def test_the_longest_ring_can_be_stamped_at_once() -> None:
    arena, numbering = Arena(LONGEST_RUN, 8), Numbering(0)
    arena.stamp(0, 65000, LONGEST_RUN, numbering)
    for slot in (0, 535, 536, LONGEST_RUN - 1):
        at = slot * arena.stride
        assert struct.unpack_from(">HH", arena.memory, at) == (3, numbering.wire(65000 + slot))


@pytest.mark.parametrize("slots", [0, -1, LONGEST_RUN + 1])
def test_a_ring_has_as_many_slots_as_there_are_numbers(slots: int) -> None:
    with pytest.raises(LocalError, match="slots"):
        Arena(slots, 8)


def test_the_header_is_that_of_rfc_1350() -> None:
    assert struct.calcsize(">HH") == HEADER_BYTES
