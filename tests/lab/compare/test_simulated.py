from __future__ import annotations

import pytest

from blockstep_lab.compare.grid import local_link, named_links
from blockstep_lab.compare.simulated import expected_s, with_simulated
from support.compared import contender, grid, link

NEAR, FAR = link(0.0, 1.0), link(0.0, 100.0)
IDS = ["udp-w1-b1428", "udp-w64-b1428", "tcp-cubic", "unix"]


def test_slow_cells_get_a_twin_and_the_others_stay_real() -> None:
    found = with_simulated(grid(IDS, [NEAR, FAR, local_link()], repeats=1), "slow", 1_000_000, 20.0)
    assert [order.key[:2] for order in found.orders()] == [
        ("udp-w1-b1428", NEAR.id),
        ("udp-w64-b1428", NEAR.id),
        ("tcp-cubic", NEAR.id),
        ("udp-w1-b1428-sim", FAR.id),
        ("udp-w64-b1428", FAR.id),
        ("tcp-cubic", FAR.id),
        ("unix", "local"),
    ]
    twin = next(each for each in found.contenders if each.simulated)
    assert twin.label == "UDP lock-step (simulated)"


def test_a_contender_that_is_slow_everywhere_is_only_simulated() -> None:
    found = with_simulated(grid(IDS, [FAR], repeats=1), "slow", 1_000_000, 20.0)
    assert "udp-w1-b1428" not in [each.id for each in found.contenders]


def test_nothing_slow_nothing_simulated() -> None:
    of = grid(IDS, [NEAR, local_link()])
    found = with_simulated(of, "slow", 1_000_000, 600.0)
    assert found.contenders == of.contenders
    assert list(found.orders()) == list(of.orders())


def test_all_is_udp_alone() -> None:
    found = with_simulated(grid(IDS, [NEAR, FAR, local_link()]), "all", 1_000_000, 20.0)
    assert [each.id for each in found.contenders] == ["udp-w1-b1428-sim", "udp-w64-b1428-sim"]
    assert found.links == (NEAR, FAR)


@pytest.mark.parametrize(
    ("contender_id", "least_s", "most_s"), [("udp-w1-b1428", 140, 142), ("udp-w64-b1428", 2, 4), ("tcp-cubic", 1, 4)]
)
def test_what_is_expected_is_near_what_happens(contender_id: str, least_s: float, most_s: float) -> None:
    assert least_s < expected_s(contender(contender_id), FAR, 1_000_000) < most_s


def test_something_is_expected_of_every_link() -> None:
    for each in named_links(["perfect", "bursty", "sorcerer", "edge"]):
        assert 0 < expected_s(contender("udp-w16-b1428"), each, 1_000_000) < 1e6
