from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from blockstep.protocol.errors import LocalError
from blockstep_lab.compare.campaign import Campaign, computed
from blockstep_lab.compare.grid import local_link
from blockstep_lab.compare.results import CompareResult
from support.compared import grid, link, method, observed

LINKS = [link(), link(1.0), link(2.0), local_link()]
GRID = grid(["udp-w16-b1428", "tcp-cubic", "unix"], LINKS, repeats=2)


def begun(count: int) -> Campaign:
    campaign = Campaign(GRID, method(GRID))
    for order in list(GRID.orders())[:count]:
        campaign.add(observed(order, 1e6))
    return campaign


def test_what_is_done_is_pending_no_more() -> None:
    campaign = begun(0)
    orders = campaign.pending(simulated=False)
    assert campaign.planned == len(orders) == 14
    assert not campaign.has_runs
    assert campaign.pending(simulated=True) == []
    campaign.add(observed(orders[0], 1e6))
    assert campaign.pending(simulated=False) == orders[1:]
    assert campaign.has_runs


def test_a_checkpoint_has_the_runs_and_the_result_all_that_follows_from_them() -> None:
    campaign = begun(5)
    checkpoint, result = campaign.checkpoint(), campaign.result()
    assert len(checkpoint.runs) == len(result.runs) == 5
    assert not checkpoint.complete
    assert checkpoint.cells == ()
    assert result.cells
    assert result.summary
    assert result.lines
    assert any("5 of 14 runs" in finding.text for finding in result.findings)


def test_a_record_is_computed_again_from_its_runs_alone() -> None:
    campaign = begun(14)
    result = campaign.result()
    assert computed(campaign.checkpoint()) == result
    assert computed(replace(result, summary="of old", findings=(), lines=(), cells=result.cells[:1])) == result


def test_a_resumed_campaign_ends_as_one_that_was_never_interrupted() -> None:
    whole = begun(14)
    first = begun(6)
    first.spent(3.0)
    resumed = Campaign(GRID, method(GRID))
    resumed.resume(CompareResult.from_json(first.checkpoint().to_json()))
    assert resumed.method.elapsed_s == first.method.elapsed_s == 15.0
    for order in resumed.pending(simulated=False):
        resumed.add(observed(order, 1e6))
    ends = [replace(each.result(), method=method(GRID)) for each in (whole, resumed)]
    assert ends[0] == ends[1]
    assert ends[0].complete


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": "8"}, "--seed was 7, now it is 8"),
        ({"repeats": 5}, "--repeat was 2, now it is 5"),
        ({"file_sha256": "1" * 64}, "the file's digest was 0000"),
        ({"max_time_s": 60.0}, "--max-time was 20.0, now it is 60.0"),
        ({"where": "host"}, "the place was namespaces, now it is host"),
        ({}, "it began as: blockstep compare --seed 7"),
    ],
)
def test_another_comparison_is_not_resumed_and_the_difference_is_named(changes: dict[str, Any], message: str) -> None:
    wanted = Campaign(GRID, replace(method(GRID), grid="other", **changes))
    with pytest.raises(LocalError) as error:
        wanted.resume(begun(3).checkpoint())
    assert "another comparison" in str(error.value)
    assert message in str(error.value)


def test_one_course_of_each_contender_is_kept_on_the_first_link_of_each_kind() -> None:
    kept = [(each.contender, each.link, each.repeat) for each in begun(14).checkpoint().sequences]
    assert kept == [(contender, each.id, 0) for each in LINKS[:2] for contender in ("udp-w16-b1428", "tcp-cubic")]
