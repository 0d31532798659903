"""The models against theory. Each seed is fixed, so a bound is either kept for ever or broken for ever."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable
from itertools import groupby, pairwise
from pathlib import Path
from random import Random

import pytest

from blockstep_lab.chances import Decider, chance_decider, loss_decider
from blockstep_lab.conditions import Chance, Conditions
from blockstep_lab.jitter import delayer, shape_table

PACKETS = 100_000
# Half the width of the 99 % interval of a normal distribution, in standard deviations.
Z99 = 2.5758
TABLES = next((path for path in Path("/usr/lib").glob("**/tc/normal.dist")), Path("none")).parent


def _loss(words: str, seed: int) -> Decider:
    loss = Conditions.parse(words).loss
    assert loss is not None
    return loss_decider(loss, lambda kind: Random(f"{seed}/up/{kind}"))


def _decisions(decide: Decider, count: int = PACKETS) -> list[bool]:
    return [decide() for _ in range(count)]


def _bursts(decisions: Iterable[bool]) -> list[int]:
    return [len(list(run)) for lost, run in groupby(decisions) if lost]


def _interval99(share: float, count: int = PACKETS) -> float:
    return Z99 * math.sqrt(share * (1 - share) / count)


@pytest.mark.parametrize("percent", [0.1, 1, 3, 20, 50])
@pytest.mark.parametrize("seed", [1, 2])
def test_random_loss_is_within_the_binomial_interval(percent: float, seed: int) -> None:
    share = statistics.mean(_decisions(_loss(f"loss {percent}%", seed)))
    assert share == pytest.approx(percent / 100, abs=_interval99(percent / 100)), f"seed {seed}"


@pytest.mark.parametrize("words", ["loss 0%", "loss 0% 50%", "loss gemodel 0% 50%"])
def test_no_loss_is_none(words: str) -> None:
    assert not any(_decisions(_loss(words, 1), 1000))


@pytest.mark.parametrize("words", ["loss 100%", "loss 100% 50%", "loss gemodel 0% 0% 100% 100%"])
def test_all_lost_is_all(words: str) -> None:
    assert all(_decisions(_loss(words, 1), 1000))


@pytest.mark.parametrize(("percent", "correlation"), [(5, 25), (5, 75), (30, 50)])
def test_correlated_loss_keeps_its_share_and_lengthens_its_bursts(percent: float, correlation: float) -> None:
    decisions = _decisions(chance_decider(Chance(percent, correlation), Random(f"{percent}/{correlation}")))
    share, repeat = percent / 100, correlation / 100
    # The effective sample is smaller by (1 - r) / (1 + r), the rule for a first-order chain.
    width = _interval99(share) * math.sqrt((1 + repeat) / (1 - repeat))
    assert statistics.mean(decisions) == pytest.approx(share, abs=width)
    assert statistics.mean(_bursts(decisions)) == pytest.approx(1 / ((1 - repeat) * (1 - share)), rel=0.04)


@pytest.mark.parametrize(("p", "r"), [(1, 25), (0.5, 10), (10, 50)])
def test_gilbert_bursts_have_the_length_of_theory(p: float, r: float) -> None:
    decisions = _decisions(_loss(f"loss gemodel {p}% {r}%", 3))
    assert statistics.mean(decisions) == pytest.approx(p / (p + r), rel=0.1)
    assert statistics.mean(_bursts(decisions)) == pytest.approx(100 / r, rel=0.06)


def test_gilbert_elliott_loses_in_both_states() -> None:
    p, r, bad, good = 0.02, 0.2, 0.7, 0.01
    decisions = _decisions(_loss("loss gemodel 2% 20% 70% 1%", 4))
    assert statistics.mean(decisions) == pytest.approx((p * bad + r * good) / (p + r), rel=0.06)


def test_markov_with_one_parameter_is_random_loss() -> None:
    decisions = _decisions(_loss("loss state 3%", 5))
    assert statistics.mean(decisions) == pytest.approx(0.03, abs=_interval99(0.03))
    assert statistics.mean(_bursts(decisions)) == pytest.approx(1 / 0.97, rel=0.02)


def test_markov_with_two_parameters_is_gilbert() -> None:
    decisions = _decisions(_loss("loss state 1% 25%", 6))
    assert statistics.mean(decisions) == pytest.approx(1 / 26, rel=0.06)
    assert statistics.mean(_bursts(decisions)) == pytest.approx(4, rel=0.06)


def test_markov_with_four_states_has_the_share_of_its_stationary_distribution() -> None:
    p13, p31, p32, p23, p14 = 0.02, 0.2, 0.3, 0.4, 0.01
    decisions = _decisions(_loss("loss state 2% 20% 30% 40% 1%", 7))
    # Flow balance: pi3 * p31 = pi1 * p13, pi2 * p23 = pi3 * p32, pi4 = pi1 * p14.
    weights = (1.0, p13 / p31 * p32 / p23, p13 / p31, p14)
    assert statistics.mean(decisions) == pytest.approx((weights[2] + weights[3]) / sum(weights), rel=0.06)


def _delays(words: str, count: int = 50_000) -> list[float]:
    delay = Conditions.parse(words).delay
    assert delay is not None
    delay_of = delayer(delay, Random("delays"))
    return [delay_of() for _ in range(count)]


@pytest.mark.parametrize("correlation", ["", "50%"])
def test_uniform_jitter_has_its_mean_and_its_borders(correlation: str) -> None:
    delays = _delays(f"delay 20ms 5ms {correlation}")
    assert statistics.mean(delays) == pytest.approx(0.020, abs=0.0001)
    assert statistics.stdev(delays) == pytest.approx(0.005 / math.sqrt(3), rel=0.02)
    assert 0.015 <= min(delays) < 0.0151
    assert 0.0249 < max(delays) <= 0.025


def test_normal_jitter_has_its_mean_and_deviation() -> None:
    delays = _delays("delay 50ms 5ms distribution normal")
    assert statistics.mean(delays) == pytest.approx(0.050, abs=0.0001)
    assert statistics.stdev(delays) == pytest.approx(0.005, rel=0.02)


def test_pareto_jitter_has_a_long_tail_to_one_side() -> None:
    delays = sorted(_delays("delay 50ms 5ms distribution pareto"))
    assert statistics.median(delays) == pytest.approx(0.050 - 0.32 * 0.005, abs=0.0001)
    assert max(delays) == pytest.approx(0.070)
    assert min(delays) == pytest.approx(0.050 - 0.667 * 0.005, abs=0.0001)


def test_a_delay_is_never_negative() -> None:
    assert min(_delays("delay 1ms 5ms distribution normal")) == 0.0
    assert min(_delays("delay 1ms 5ms")) == 0.0


def test_correlated_delays_repeat_as_often_as_asked() -> None:
    delays = _delays("delay 20ms 5ms 30%")
    repeats = sum(first == second for first, second in pairwise(delays))
    assert repeats / len(delays) == pytest.approx(0.30, abs=0.01)


@pytest.mark.skipif(not TABLES.is_dir(), reason="the tables of iproute2 are not installed")
@pytest.mark.parametrize("name", ["normal", "pareto", "paretonormal"])
def test_our_quantiles_are_those_of_the_tables_that_tc_loads(name: str) -> None:
    lines = (TABLES / f"{name}.dist").read_text().splitlines()
    theirs = sorted(int(value) / 8192 for line in lines if not line.startswith("#") for value in line.split())
    ours = shape_table(name)
    assert len(theirs) == len(ours)
    for index in range(len(ours) // 100, len(ours) * 98 // 100):
        assert ours[index] == pytest.approx(theirs[index], abs=0.06), index
