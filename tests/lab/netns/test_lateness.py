from __future__ import annotations

from blockstep_lab.netns.lateness import Lateness


def test_the_worst_case_is_exact_and_quantiles_are_near() -> None:
    late = Lateness()
    for micros in range(1, 1001):
        late.add(micros / 1e6)
    late.add(0.012345)
    assert late.most_s == 0.012345
    assert abs(late.quantile(0.5) - 0.0005) < 0.00002


def test_nothing_is_not_late() -> None:
    assert (Lateness().quantile(0.99), Lateness().most_s) == (0.0, 0.0)
