"""What a transfer is, by itself."""

from __future__ import annotations

import pytest

from blockstep.protocol.wire import OptionAck
from blockstep_lab.trace.transfer import Side, Terms
from support.capture_story import Story, data, read_request, write_request


def test_the_other_side() -> None:
    assert (Side.CLIENT.other, Side.SERVER.other) == (Side.SERVER, Side.CLIENT)


def test_terms_of_an_oack() -> None:
    options = (("blksize", "1024"), ("windowsize", "8"), ("timeout", "3"), ("tsize", "99"), ("rollover", "1"))
    terms = Terms.of(OptionAck(options))
    assert (terms.blksize, terms.windowsize, terms.timeout_s, terms.tsize, terms.rollover) == (1024, 8, 3, 99, 1)
    assert terms.granted == dict(options)


def test_terms_of_options_that_only_some_know() -> None:
    terms = Terms.of(OptionAck((("blksize2", "2048"), ("utimeout", "250000"))))
    assert (terms.blksize, terms.timeout_s) == (2048, 0.25)


@pytest.mark.parametrize("value", ["", "0", "x", "1e3", "9" * 5000, "\N{ARABIC-INDIC DIGIT FIVE}"])
def test_values_that_are_no_numbers_set_nothing(value: str) -> None:
    assert Terms.of(OptionAck((("blksize", value), ("windowsize", value)))).blksize == 512
    assert Terms.of(OptionAck((("windowsize", value),))).windowsize == 1


@pytest.mark.parametrize(("request_packet", "carried"), [(read_request(), True), (write_request(), False)])
def test_only_the_sending_side_carries_data(story: Story, request_packet: bytes, carried: bool) -> None:
    story.request(request_packet)
    story.server(data(1))
    transfer = story.only_transfer()
    assert [transfer.carries_data(packet) for packet in transfer.packets] == [False, carried]
