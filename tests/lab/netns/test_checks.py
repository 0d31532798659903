from __future__ import annotations

import json
from dataclasses import replace

from blockstep_lab.impairment import Counters
from blockstep_lab.netns.checks import DirectionChecks, HostCounters, LabChecks, RouterReport


def direction(
    conditions: str = "", *, packets: int = 1000, lost: int = 0, late_p99_s: float = 0.0001
) -> DirectionChecks:
    counters = Counters(packets=packets, delivered=packets - lost, lost=lost)
    return DirectionChecks(conditions, counters, 0.00005, late_p99_s, 0.0003)


def checks(left_to_right: DirectionChecks | None = None, **changed: int) -> LabChecks:
    hosts = {name: HostCounters(congestion="cubic") for name in ("left", "right")}
    good = LabChecks(
        seed="7",
        carrier="tun",
        scheduler="SCHED_FIFO 50",
        kernel="Linux 6.1",
        left_to_right=left_to_right or direction(),
        right_to_left=direction(),
        hosts=hosts,
        rules=[],
    )
    return replace(good, **changed)  # type: ignore[arg-type]


def test_a_good_run_says_so() -> None:
    run = checks()
    assert run.ok
    assert run.to_table().endswith("self-checks passed")
    assert "TCP cubic" in run.to_table()


def test_what_the_model_did_not_drop_makes_a_run_void() -> None:
    for name in ("ring_drops", "no_room", "send_errors"):
        run = checks()
        setattr(run, name, 3)
        assert not run.ok
        assert "VOID: 3 packets" in run.to_table()


def test_strangers_and_packets_under_way_do_not() -> None:
    assert checks(strangers=4, under_way=2).ok


def test_late_packets_make_a_run_void() -> None:
    run = checks(direction(late_p99_s=0.0051))
    assert run.failures() == ["left to right: 1 in 100 packets was more than 5.10 ms late, 2.00 ms may be"]
    assert replace(run, late_p99_limit_s=0.01).ok


def test_a_loss_that_nobody_asked_for_makes_a_run_void() -> None:
    assert checks(direction("loss 1%", packets=10_000, lost=100)).ok
    assert not checks(direction("loss 1%", packets=10_000, lost=200)).ok
    assert not checks(direction("", packets=10_000, lost=1)).ok


def test_what_rules_dropped_is_not_judged() -> None:
    run = checks(direction("", packets=10, lost=1))
    run.rules = [("drop DATA 3", 1)]
    assert run.ok
    assert "rule  drop DATA 3: 1 packets" in run.to_table()
    assert "asked for" not in run.to_table()


def test_json_holds_the_verdict() -> None:
    said = json.loads(checks(ring_drops=1).to_json())
    assert said["ok"] is False
    assert len(said["failures"]) == 1
    assert said["left_to_right"]["counters"]["packets"] == 1000


def test_two_congestion_controls_are_both_named() -> None:
    run = checks()
    run.hosts["left"] = HostCounters(congestion="bbr")
    assert run.congestion == "bbr and cubic"


def test_a_report_comes_through_json_as_it_was() -> None:
    report = RouterReport(direction("delay 5ms"), direction(), [("drop DATA 3", 2)], ring_drops=1, under_way=4)
    assert RouterReport.from_json(report.to_json()) == report
