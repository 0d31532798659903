from __future__ import annotations

import math
from dataclasses import replace
from statistics import mean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blockstep.protocol.errors import LocalError
from blockstep.protocol.options import Wanted
from blockstep_lab.compare.theory import (
    MATHIS_C,
    Situation,
    go_back_n,
    go_back_n_kept,
    link_rate,
    mathis,
    tcp_link_rate,
    window_rate,
)
from blockstep_lab.conditions import Conditions
from blockstep_lab.parties import Plan
from blockstep_lab.simulation import GENEROUS, Scenario, content_of, run_once

FAR = Situation(rtt_s=0.05, blksize=1428, windowsize=16, rate_bit_s=50e6, loss=0.01, loss_back=0.01)


def simulated_bit_s(situation: Situation, blocks: int, seeds: range) -> float:
    """What the real machines reach on virtual time."""
    words = f"delay {situation.rtt_s * 500}ms"
    words += f" loss {situation.loss:%}" if situation.loss else ""
    words += f" rate {situation.rate_bit_s:.0f}bit" if situation.rate_bit_s else ""
    conditions = Conditions.parse(words)
    size = situation.blksize * blocks
    wanted = Wanted(blksize=situation.blksize, windowsize=situation.windowsize, tsize=0)
    scenario = Scenario(
        plan=Plan(content=content_of(size), wanted=wanted, limits=GENEROUS), up=conditions, down=conditions
    )
    runs = [run_once(scenario, seed) for seed in seeds]
    return mean(size * 8 / run.seconds for run in runs if run.seconds)


def test_lock_step_is_one_block_for_each_round_trip() -> None:
    assert window_rate(Situation(rtt_s=0.05, blksize=512)) == pytest.approx(512 * 8 / 0.05)


def test_a_window_is_so_many_blocks_for_each_round_trip() -> None:
    one = window_rate(Situation(rtt_s=0.05, blksize=1428))
    assert window_rate(Situation(rtt_s=0.05, blksize=1428, windowsize=64)) == pytest.approx(64 * one)


def test_a_window_nears_the_link_rate_and_never_reaches_it() -> None:
    wide = replace(FAR, windowsize=65535, loss=0.0)
    rate = link_rate(wide)
    assert rate is not None
    assert 0.99 * rate < window_rate(wide) < rate


def test_the_link_carries_headers_too() -> None:
    rate = link_rate(Situation(rtt_s=0.01, blksize=1428, rate_bit_s=50e6))
    assert rate == pytest.approx(50e6 * 1428 / 1460)
    assert tcp_link_rate(50e6) == pytest.approx(50e6 * 1448 / 1500)
    assert link_rate(Situation(rtt_s=0.01, blksize=1428)) is None


@pytest.mark.parametrize(("blksize", "fragments"), [(512, 1), (1468, 1), (1469, 2), (65464, 45)])
def test_a_block_over_the_mtu_is_lost_with_any_of_its_fragments(blksize: int, fragments: int) -> None:
    situation = Situation(rtt_s=0.01, blksize=blksize, loss=0.01)
    assert situation.fragments == fragments
    assert situation.block_loss == pytest.approx(1 - 0.99**fragments)


@pytest.mark.parametrize("windowsize", [1, 4, 16, 64])
@pytest.mark.parametrize("rate_bit_s", [None, 50e6])
def test_go_back_n_without_loss_is_the_window(windowsize: int, rate_bit_s: float | None) -> None:
    situation = Situation(rtt_s=0.01, blksize=1428, windowsize=windowsize, rate_bit_s=rate_bit_s)
    assert go_back_n(situation) == pytest.approx(window_rate(situation))


def test_lock_step_under_loss_by_hand() -> None:
    """Block or ACK lost: a time-out; else a round trip."""
    situation = Situation(rtt_s=0.02, blksize=1000, loss=0.1, loss_back=0.2)
    heard = 0.9 * 0.8
    by_hand = 8000 / (0.02 + (1 - heard) / heard * 0.03)
    assert go_back_n(situation, timer_floor_s=0.01) == pytest.approx(by_hand)


@given(
    st.floats(0.001, 0.5),
    st.integers(1, 128),
    st.floats(0, 0.3),
    st.floats(0, 0.3),
    st.none() | st.floats(1e6, 1e9),
)
def test_loss_never_helps(rtt_s: float, windowsize: int, p: float, q: float, rate: float | None) -> None:
    clean = Situation(rtt_s=rtt_s, blksize=1428, windowsize=windowsize, rate_bit_s=rate)
    lossy = replace(clean, loss=p, loss_back=q)
    assert 0 < go_back_n(lossy) <= window_rate(clean) * (1 + 1e-9)
    assert go_back_n(replace(lossy, loss=min(p + 0.1, 0.9))) <= go_back_n(lossy) * (1 + 1e-9)
    assert go_back_n(lossy) <= go_back_n_kept(lossy) * (1 + 1e-6)
    assert go_back_n_kept(lossy) <= window_rate(clean) * (1 + 1e-9)


def test_what_is_kept_need_not_arrive_again() -> None:
    """In lock-step there is nothing to keep; in a large window it is worth more, the more is lost."""
    assert go_back_n_kept(replace(FAR, windowsize=1)) == go_back_n(replace(FAR, windowsize=1))
    worth = [
        go_back_n_kept(replace(FAR, windowsize=64, loss=loss)) / go_back_n(replace(FAR, windowsize=64, loss=loss))
        for loss in (0.001, 0.01, 0.03, 0.1)
    ]
    assert worth == sorted(worth)
    assert worth[0] < 1.02
    assert worth[-1] > 2


@pytest.mark.parametrize("windowsize", [1, 4, 16, 64])
@pytest.mark.parametrize("loss", [0.01, 0.03])
@pytest.mark.parametrize("rtt_s", [0.01, 0.05])
@pytest.mark.parametrize("rate_bit_s", [None, 50e6])
def test_go_back_n_is_what_the_machines_do(
    windowsize: int, loss: float, rtt_s: float, rate_bit_s: float | None
) -> None:
    """Virtual time, so the numbers are the same in every run; the law knows no back-off and no needless resends.

    What comes early is thrown away by one receiver and kept by another; ours lies between the two laws.
    """
    situation = Situation(
        rtt_s=rtt_s, blksize=1428, windowsize=windowsize, rate_bit_s=rate_bit_s, loss=loss, loss_back=loss
    )
    found = simulated_bit_s(situation, blocks=1500 if windowsize == 1 else 4000, seeds=range(2))
    assert 0.88 * go_back_n(situation) <= found <= 1.05 * go_back_n_kept(situation)


@pytest.mark.parametrize("windowsize", [1, 16])
def test_without_loss_the_machines_are_within_two_percent(windowsize: int) -> None:
    situation = Situation(rtt_s=0.04, blksize=1428, windowsize=windowsize, rate_bit_s=100e6)
    assert simulated_bit_s(situation, 2000, range(1)) == pytest.approx(window_rate(situation), rel=0.02)


def test_mathis_by_hand() -> None:
    assert mathis(Situation(rtt_s=0.05, blksize=1, loss=0.01)) == pytest.approx(1448 * 8 / 0.05 * MATHIS_C / 0.1)


def test_mathis_stays_below_the_link_and_says_nothing_without_loss() -> None:
    assert mathis(replace(FAR, loss=1e-6)) == pytest.approx(tcp_link_rate(50e6))
    assert mathis(replace(FAR, loss=0.0)) is None
    assert mathis(replace(FAR, rtt_s=0.0)) is None


@pytest.mark.parametrize("change", [{"loss": 1.0}, {"loss": -0.1}, {"windowsize": 0}, {"blksize": 0}])
def test_an_impossible_situation_has_no_law(change: dict[str, float]) -> None:
    with pytest.raises(LocalError):
        replace(FAR, **change)  # type: ignore[arg-type]


def test_a_path_without_length_has_no_limit() -> None:
    assert window_rate(Situation(rtt_s=0.0, blksize=512)) == math.inf
