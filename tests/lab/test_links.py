from __future__ import annotations

import pytest

from blockstep_lab.conditions import Conditions
from blockstep_lab.links import LINKS, parse_link
from blockstep_lab.words import WordsError


@pytest.mark.parametrize("name", LINKS)
def test_every_named_link_can_be_typed_again_and_names_its_source(name: str) -> None:
    link = LINKS[name]
    assert parse_link(name) == (link.up, link.down)
    assert Conditions.parse(str(link.up)) == link.up
    assert Conditions.parse(str(link.down)) == link.down
    assert link.about
    assert link.source


@pytest.mark.parametrize("name", ["lan", "wifi", "dsl", "lte", "satellite", "bursty", "sorcerer"])
def test_the_promised_links_exist(name: str) -> None:
    assert name in LINKS


def test_words_of_netem_hold_for_both_directions() -> None:
    conditions = Conditions.parse("loss 5%")
    assert parse_link("loss 5%") == (conditions, conditions)
    assert parse_link([]) == (Conditions(), Conditions())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("sattelite", "did you mean 'satellite'?"),
        ("lte loss 5%", "lte: a named link takes no further words; write them after its own: 'limit 500"),
        ("dealy 5ms", "did you mean 'delay'?"),
        ("loss 200%", "the nearest is '100%'"),
    ],
)
def test_a_bad_name_is_named_with_the_nearest_right_one(words: str, message: str) -> None:
    with pytest.raises(WordsError) as caught:
        parse_link(words)
    assert message in str(caught.value)
