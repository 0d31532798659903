"""Violations as a list: summed up, in order, each with its place in the RFCs."""

from __future__ import annotations

import pytest

from blockstep_lab.trace.rules import RULES, check
from blockstep_lab.trace.transfer import Side
from support.capture_story import Story, ack, data, oack, read_request


def test_violations_stand_in_the_order_of_their_frames(story: Story) -> None:
    story.request(read_request(tsize=9))
    story.server(oack(tsize=20, blksize=8))
    story.client(ack(0))
    story.server(data(1, 20))
    story.client(ack(1))
    first, second, third = check(story.only_transfer())
    assert [(found.rule, found.frame) for found in (first, second, third)] == [
        ("read-tsize-not-zero", 1), ("unasked-option", 2), ("block-too-long", 4),
    ]  # fmt: skip
    assert first.side is Side.CLIENT
    assert first.text == "a read asks with tsize 0, not 9"


@pytest.mark.parametrize("name", RULES)
def test_every_rule_says_where_it_stands(name: str) -> None:
    reference, rule = RULES[name]
    assert reference.startswith(("RFC ", "the rollover option"))
    assert callable(rule)


def test_repeats_of_one_rule_are_one_violation_for_each_side(story: Story) -> None:
    story.request(read_request())
    story.server(data(1))
    story.client(ack(1))
    for _ in range(3):
        story.server(b"\0\x09")
    story.client(b"\0\x09")
    found = [(violation.rule, violation.side.value, violation.count) for violation in check(story.only_transfer())]
    assert found == [("malformed", "server", 3), ("malformed", "client", 1)]
