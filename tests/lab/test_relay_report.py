from __future__ import annotations

from blockstep_lab.impairment import Counters
from blockstep_lab.relay_report import DirectionReport, RelayReport, Troubles

REPORT = RelayReport(
    seed="7",
    up=DirectionReport("loss 5%", Counters(1234, 1170, 64), 0.0251, 0.0399),
    down=DirectionReport("", Counters(10, 10), None, None),
    rules=[("drop DATA 3 once", 1), ("drop ERROR", 0)],
)


def test_a_report_survives_json() -> None:
    assert RelayReport.from_json(REPORT.to_json()) == REPORT


def test_the_table_is_aligned_and_names_seed_and_conditions() -> None:
    assert REPORT.to_table().splitlines() == [
        "seed 7",
        "up    netem loss 5%",
        "down  netem",
        "      packets  delivered  lost  queue full  duplicated  reordered  corrupted  delay median       p99",
        "up      1,234      1,170    64           0           0          0          0      25.10 ms  39.90 ms",
        "down       10         10     0           0           0          0          0             -         -",
        "rule  drop DATA 3 once: 1 packet",
        "rule  drop ERROR: 0 packets",
    ]


def test_the_relay_confesses_what_it_lost_itself() -> None:
    report = RelayReport("7", REPORT.up, REPORT.down, troubles=Troubles(kernel_drops=3))
    assert report.to_table().endswith("warning: the relay was too slow and the kernel dropped: 3 packets")
