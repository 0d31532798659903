from __future__ import annotations

from dataclasses import replace

import pytest

from blockstep_lab.compare.grid import grid_links, local_link, named_links
from blockstep_lab.compare.laws import GO_BACK_N, KEPT, LINK_RATE, MATHIS, WINDOW, laws_for, lines_for, maybe_share
from blockstep_lab.compare.results import TheoryLine
from blockstep_lab.conditions import Rate
from support.compared import contender, grid, link, record


@pytest.mark.parametrize(
    ("contender_id", "loss", "expected"),
    [
        ("udp-w16-b1428", 0.0, {LINK_RATE, WINDOW, GO_BACK_N}),
        ("udp-w16-b1428", 1.0, {LINK_RATE, WINDOW, GO_BACK_N, KEPT}),
        ("udp-w1-b1428", 1.0, {LINK_RATE, WINDOW, GO_BACK_N}),
        ("tcp-cubic", 1.0, {LINK_RATE}),
        ("tcp-reno", 0.0, {LINK_RATE}),
        ("tcp-reno", 1.0, {LINK_RATE, MATHIS}),
    ],
)
def test_each_contender_has_its_laws(contender_id: str, loss: float, expected: set[str]) -> None:
    assert set(laws_for(contender(contender_id), link(loss))) == expected


def test_a_cell_is_held_to_the_most_particular_law() -> None:
    reno, cubic, where = "tcp-reno", "tcp-cubic", link(1.0)
    cells = record(grid([reno, cubic], [where]), {(reno, where.id): 5e6, (cubic, where.id): 24e6}).cells
    shares = [share for cell in cells if (share := maybe_share(cell)) is not None]
    assert [law for law, _ in shares] == [MATHIS, LINK_RATE]
    assert [share for _, share in shares] == pytest.approx([5.025e6 / cells[0].theory[MATHIS], 0.5], rel=0.01)
    assert maybe_share(replace(cells[0], state="max-time")) is None
    assert maybe_share(replace(cells[0], theory={})) is None


def test_the_ceilings_have_none() -> None:
    assert laws_for(contender("unix"), local_link()) == {}


def test_where_loss_comes_in_bursts_or_delay_varies_only_what_does_not_need_them_is_said() -> None:
    bursty, lte = named_links(["bursty", "lte"])
    assert set(laws_for(contender("udp-w16-b1428"), bursty)) == {WINDOW}
    assert set(laws_for(contender("tcp-reno"), bursty)) == set()
    assert set(laws_for(contender("udp-w16-b1428"), lte)) == {LINK_RATE, WINDOW}


def test_a_real_path_has_a_window_and_nothing_that_needs_its_loss() -> None:
    real = replace(link(), loss=None, loss_back=None, delay_s=None, rtt_s=0.03, rate_bit_s=None, regular=False)
    assert set(laws_for(contender("udp-w16-b1428"), real)) == {WINDOW}
    assert laws_for(contender("udp-w16-b1428"), replace(real, rtt_s=0.0001)) == {}


def axes(lines: tuple[TheoryLine, ...]) -> set[tuple[str, str, str | None]]:
    return {(line.axis, line.law, line.contender) for line in lines}


def test_there_are_lines_along_each_axis_that_has_several_values() -> None:
    links = grid_links([0.0, 1.0], [5_000_000, 25_000_000], Rate(50_000_000))
    found = axes(lines_for([contender("udp-w16-b1428"), contender("udp-w1-b1428"), contender("tcp-reno")], links))
    for axis in ("loss", "delay"):
        assert {(axis, GO_BACK_N, "udp-w1-b1428"), (axis, GO_BACK_N, "udp-w16-b1428")} <= found
        assert (axis, MATHIS, "tcp-reno") in found
        assert (axis, LINK_RATE, None) in found
    assert ("windowsize", WINDOW, "udp-w16-b1428") in found
    assert ("windowsize", WINDOW, "udp-w1-b1428") not in found


def test_one_value_makes_no_line() -> None:
    assert axes(lines_for([contender("udp-w1-b1428"), contender("tcp-cubic")], [link()])) == set()


def test_a_line_goes_through_the_predictions_of_its_cells() -> None:
    links = grid_links([0.0, 1.0], [5_000_000], Rate(50_000_000))
    udp = contender("udp-w16-b1428")
    line = next(each for each in lines_for([udp], links) if each.law == GO_BACK_N)
    assert list(line.x) == sorted(line.x)
    assert line.x[0] < 0.01 < line.x[-1]
    before = max(place for place, loss in enumerate(line.x) if loss <= 0.01)
    assert line.goodput_bit_s[before] >= laws_for(udp, links[1])[GO_BACK_N] >= line.goodput_bit_s[before + 1]


def test_links_with_a_name_stand_beside_the_grid_and_ceilings_have_no_lines() -> None:
    links = [*grid_links([0.0, 1.0], [5_000_000], None), *named_links(["lte"]), local_link()]
    lines = lines_for([contender("udp-w16-b1428"), contender("unix")], links)
    assert {line.link for line in lines} == {links[0].id}
