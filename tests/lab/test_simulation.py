from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blockstep.protocol.errors import LocalError
from blockstep.protocol.options import Wanted
from blockstep.protocol.wire import Opcode
from blockstep_lab.conditions import Conditions
from blockstep_lab.links import LINKS
from blockstep_lab.parties import Plan
from blockstep_lab.rules import Rule
from blockstep_lab.simulation import GENEROUS, Distribution, Scenario, content_of, run_all, run_once

FAR = LINKS["far-site"]


def scenario(size: int, words: str, *rules: str, opcode: Opcode = Opcode.RRQ, **wanted: int) -> Scenario:
    plan = Plan(opcode=opcode, content=content_of(size), wanted=Wanted(**wanted), limits=GENEROUS)
    conditions = Conditions.parse(words)
    return Scenario(plan=plan, up=conditions, down=conditions, rules=tuple(map(Rule.parse, rules)))


@pytest.mark.slow
@pytest.mark.parametrize(("blksize", "published_h"), [(512, 12.5), (1400, 4.5)])
def test_the_case_that_facebook_published(blksize: int, published_h: float) -> None:
    """fbtftp's authors: 80 MB at 150 ms took 12.5 hours with blocks of 512 and 4.5 hours with 1400."""
    plan = Plan(content=content_of(80_000_000), wanted=Wanted(blksize=blksize), limits=GENEROUS)
    run = run_once(Scenario(plan=plan, up=FAR.up, down=FAR.down), seed=1)
    assert run.failure is None
    assert run.seconds == pytest.approx(80e6 / blksize * 0.3, rel=0.02)
    assert run.seconds == pytest.approx(published_h * 3600, rel=0.08)
    assert run.resends == 0


@pytest.mark.parametrize("opcode", [Opcode.RRQ, Opcode.WRQ])
@pytest.mark.parametrize("windowsize", [1, 16])
def test_a_clean_link_needs_no_resend_and_a_round_trip_for_a_window(opcode: Opcode, windowsize: int) -> None:
    run = run_once(scenario(512 * 160 - 1, "delay 10ms", opcode=opcode, blksize=512, windowsize=windowsize), seed=1)
    assert (run.failure, run.resends, run.timeouts, run.lost) == (None, 0, 0, 0)
    windows = 160 // windowsize
    # and one round trip for request and answer
    assert run.seconds == pytest.approx(0.02 * (windows + 1), abs=0.0101)


def test_one_seed_is_one_story_wherever_it_is_told() -> None:
    lossy = scenario(100_000, "loss 5% delay 20ms 5ms duplicate 2%", blksize=512, windowsize=4)
    here = list(run_all(lossy, 7, 12, processes=1))
    elsewhere = sorted(run_all(lossy, 7, 12, processes=2), key=lambda run: run.seed)
    assert here == elsewhere
    assert here[5] == run_once(lossy, 12)
    assert len({run.seconds for run in here}) > 1


@given(seed=st.integers(0, 1 << 32))
@settings(max_examples=25)
def test_whatever_the_seed_the_file_arrives_over_a_bad_link(seed: int) -> None:
    run = run_once(scenario(20_000, "loss 8% delay 20ms 10ms duplicate 3% reorder 5%", blksize=512, windowsize=4), seed)
    assert run.failure is None
    assert run.resends >= 0 <= run.timeouts


def test_rules_act_and_what_they_cost_is_counted() -> None:
    run = run_once(scenario(5_000, "delay 10ms", "drop DATA 3 once", blksize=512), seed=1)
    assert (run.lost, run.timeouts, run.resends) == (1, 1, 1)


def test_a_dead_link_is_a_failure_with_its_reason() -> None:
    run = run_once(scenario(5_000, "loss 100%"), seed=1)
    assert run.failure == "no answer for 24.0 s"
    assert run.seconds is None


def test_wrong_bytes_are_a_failure_even_if_both_sides_are_content() -> None:
    run = run_once(scenario(5_000, "", "down corrupt DATA 3", blksize=512), seed=1)
    assert run.failure == "the file arrived with other bytes"


@pytest.mark.parametrize("size", [0, 1, 511, 512, 1_048_583, 2_500_000])
def test_content_has_its_size(size: int) -> None:
    assert len(content_of(size)) == size


def test_a_distribution_has_values_that_occurred() -> None:
    assert Distribution.of(range(1, 201)) == Distribution(1, 100, 180, 198, 200)
    assert Distribution.of([7.0]) == Distribution(7, 7, 7, 7, 7)
    with pytest.raises(LocalError, match="nothing"):
        Distribution.of([])
