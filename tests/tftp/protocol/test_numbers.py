from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blockstep.protocol.errors import LocalError
from blockstep.protocol.numbers import LONGEST_RUN, Numbering

rollovers = pytest.mark.parametrize("rollover", [0, 1])


def counted(rollover: int, upto: int) -> list[int]:
    """Wire numbers of the blocks 0 to `upto`, counted one after the other as the two conventions are described."""
    numbers = [0]
    for _ in range(upto):
        numbers.append(rollover if numbers[-1] == 65535 else numbers[-1] + 1)
    return numbers


@rollovers
def test_wire_numbers_are_those_that_counting_gives(rollover: int) -> None:
    numbering = Numbering(rollover)
    expected = counted(rollover, 3 * 65536 + 5)
    assert [numbering.wire(index) for index in range(len(expected))] == expected


@rollovers
@given(index=st.integers(1, 2**40) | st.integers(65500, 65600), count=st.integers(1, 300) | st.just(LONGEST_RUN))
def test_the_planes_are_the_wire_numbers(rollover: int, index: int, count: int) -> None:
    numbering = Numbering(rollover)
    high, low = numbering.planes(index, count)
    assert [upper << 8 | lower for upper, lower in zip(high, low, strict=True)] == [
        numbering.wire(each) for each in range(index, index + count)
    ]


@rollovers
@given(reference=st.integers(0, 2**40) | st.integers(0, 140_000), distance=st.integers(-32767, 32767))
def test_the_nearest_block_is_found_within_half_a_period(rollover: int, reference: int, distance: int) -> None:
    numbering = Numbering(rollover)
    index = reference + distance
    if index >= 1 or (index == 0 and reference < 32767):
        assert numbering.nearest(numbering.wire(index), reference) == index


@rollovers
@given(wire=st.integers(0, 65535), reference=st.integers(0, 200_000))
def test_the_nearest_block_has_the_number_or_there_is_none(rollover: int, wire: int, reference: int) -> None:
    numbering = Numbering(rollover)
    index = numbering.nearest(wire, reference)
    assert index == -1 or numbering.wire(index) == wire
    assert index == -1 or abs(index - reference) <= 32768


@rollovers
@given(reference=st.integers(0, 2**40) | st.integers(0, 140_000), distance=st.integers(0, 65534))
def test_a_sender_finds_every_block_of_the_longest_window(rollover: int, reference: int, distance: int) -> None:
    numbering = Numbering(rollover)
    index = reference + distance
    assert numbering.at_or_after(numbering.wire(index), reference) == index


@rollovers
@given(wire=st.integers(0, 65535), reference=st.integers(0, 200_000))
def test_at_or_after_has_the_number_or_there_is_none(rollover: int, wire: int, reference: int) -> None:
    numbering = Numbering(rollover)
    index = numbering.at_or_after(wire, reference)
    assert index == -1 or (numbering.wire(index) == wire and reference <= index <= reference + 65536)
    assert index != -1 or (rollover, wire) == (1, 0)


def test_zero_is_no_number_of_data_where_one_follows_65535() -> None:
    numbering = Numbering(1)
    assert numbering.nearest(0, 10) == 0
    assert numbering.nearest(0, 65536) == -1
    assert numbering.at_or_after(0, 0) == 0
    assert numbering.at_or_after(0, 1) == -1


def test_a_number_that_could_only_lie_before_the_first_block_is_none() -> None:
    assert Numbering(0).nearest(65535, 1) == -1
    assert Numbering(1).nearest(65535, 1) == -1


@pytest.mark.parametrize("rollover", [-1, 2, 65535])
def test_there_are_two_conventions(rollover: int) -> None:
    with pytest.raises(LocalError, match="rollover must be 0 or 1"):
        Numbering(rollover)
