from __future__ import annotations

import pytest

from blockstep_lab.conditions import Conditions
from blockstep_lab.impairment import Impairment
from blockstep_lab.netns.expected import loss_interval

PACKETS = 20_000


@pytest.mark.parametrize("words", ["loss 1%", "loss 10% 25%", "loss gemodel 1% 25%", "loss gemodel 2% 10% 70% 1%"])
def test_99_of_100_runs_are_inside(words: str) -> None:
    conditions = Conditions.parse(words)
    interval = loss_interval(conditions.loss, PACKETS)
    assert interval is not None
    inside = 0
    for seed in range(100):
        link = Impairment(conditions, seed, "up")
        for _ in range(PACKETS // 10):
            link.admit(b"", 0.0)
        low, high = loss_interval(conditions.loss, PACKETS // 10) or (0.0, 0.0)
        inside += low <= link.counters.lost / (PACKETS // 10) <= high
    assert inside >= 95, f"{words}: {inside} of seeds 0 to 99"


def test_no_loss_and_every_loss_have_no_reach() -> None:
    assert loss_interval(None, 100) == (0.0, 0.0)
    assert loss_interval(Conditions.parse("loss 100%").loss, 100) == (1.0, 1.0)


def test_what_theory_does_not_say_is_not_judged() -> None:
    assert loss_interval(Conditions.parse("loss state 1% 20%").loss, 100) is None
    assert loss_interval(Conditions.parse("loss 1%").loss, 0) is None


def test_a_rare_loss_in_a_short_run_is_no_surprise() -> None:
    low, high = loss_interval(Conditions.parse("loss 0.1%").loss, 10) or (1.0, 0.0)
    assert low == 0.0
    assert high >= 0.1
