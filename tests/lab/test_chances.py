"""The promise that one seed is one fate: a decider draws once for each packet, whatever it decides. Shares and bursts
are in test_statistics.
"""

from __future__ import annotations

from random import Random

import pytest

from blockstep_lab.chances import chance_decider, loss_decider, never
from blockstep_lab.conditions import Chance, Conditions


class Counting(Random):
    """Counts what is drawn."""

    drawn = 0

    def random(self) -> float:
        self.drawn += 1
        return super().random()


@pytest.mark.parametrize("correlation", [0, 25, 100])
def test_a_chance_draws_once_for_each_packet(correlation: int) -> None:
    stream = Counting(7)
    decide = chance_decider(Chance(30, correlation), stream)
    before = stream.drawn
    decisions = [decide() for _ in range(500)]
    assert stream.drawn - before == 500
    assert len(set(decisions)) == (1 if correlation == 100 else 2)


@pytest.mark.parametrize("words", ["loss 5% 40%", "loss gemodel 2% 20% 80% 1%", "loss state 2% 20% 30% 40% 1%"])
def test_a_loss_model_draws_once_for_each_packet_from_each_of_its_streams(words: str) -> None:
    streams: dict[str, Counting] = {}
    loss = Conditions.parse(words).loss
    assert loss is not None
    decide = loss_decider(loss, lambda kind: streams.setdefault(kind, Counting(kind)))
    before = {kind: stream.drawn for kind, stream in streams.items()}
    for _ in range(500):
        decide()
    assert {stream.drawn - before[kind] for kind, stream in streams.items()} == {500}


def test_gilbert_elliott_has_the_loss_of_the_state_that_the_packet_finds() -> None:
    loss = Conditions.parse("loss gemodel 100% 100% 100% 0%").loss  # the state changes after every packet
    assert loss is not None
    decide = loss_decider(loss, Random)
    assert [decide() for _ in range(4)] == [False, True, False, True]


def test_no_trouble_is_no_draw() -> None:
    assert [never() for _ in range(3)] == [False] * 3
