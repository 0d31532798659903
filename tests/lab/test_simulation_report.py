from __future__ import annotations

import json

from blockstep.protocol.options import Wanted
from blockstep_lab.conditions import Conditions
from blockstep_lab.parties import Plan
from blockstep_lab.rules import Rule
from blockstep_lab.simulation import Run, Scenario
from blockstep_lab.simulation_report import SimulationReport

SCENARIO = Scenario(
    plan=Plan(content=bytes(5000), wanted=Wanted(blksize=512, timeout_s=0.5)),
    up=Conditions.parse("loss 5%"),
    down=Conditions(),
    rules=(Rule.parse("drop ACK 3 once"),),
)


def run(seed: int, seconds: float | None, failure: str | None = None) -> Run:
    return Run(seed, seconds, failure, resends=seed, timeouts=1, needless=0, packets=20, lost=2, events=50)


REPORT = SimulationReport(SCENARIO, [run(1, 0.5), run(2, 90.0), run(3, None, "too bad"), run(4, 7200.0)], wall_s=0.25)


def test_the_table() -> None:
    assert REPORT.to_table().splitlines() == [
        "get 5 kB, blksize 512, windowsize 1, timeout 0.5 s, 4 runs, seeds 1 to 4",
        "up    netem loss 5%",
        "down  netem",
        "rule  drop ACK 3 once",
        "             min    median      p90      p99      max",
        "time      500 ms  1.50 min   2.00 h   2.00 h   2.00 h",
        "goodput    1 B/s    56 B/s  10 kB/s  10 kB/s  10 kB/s",
        "resends        1         2        4        4        4",
        "timeouts       1         1        1        1        1",
        "packets       20        20       20       20       20",
        "lost           2         2        2        2        2",
        "failed 1 of 4: too bad (--seed 3)",
        "2.03 h of transfers in 0.2 s, 200 events",
    ]


def test_json_has_everything() -> None:
    document = json.loads(REPORT.to_json())
    assert document["seconds"] == {"least": 0.5, "median": 90.0, "p90": 7200.0, "p99": 7200.0, "most": 7200.0}
    assert document["failures"] == {"too bad": [3]}
    assert [each["seed"] for each in document["runs"]] == [1, 2, 3, 4]
    assert (document["up"], document["rules"], document["timeout_s"]) == ("loss 5%", ["drop ACK 3 once"], 0.5)


def test_without_a_good_run_there_is_no_time_to_tell() -> None:
    report = SimulationReport(SCENARIO, [run(9, None, "too bad")], wall_s=0.1)
    assert set(report.distributions()) == {"resends", "timeouts", "packets", "lost"}
    assert "failed 1 of 1: too bad (--seed 9)" in report.to_table()
