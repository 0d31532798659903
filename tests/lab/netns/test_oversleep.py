from __future__ import annotations

from blockstep_lab.netns.oversleep import Oversleep


def test_the_usual_oversleep_is_learned() -> None:
    oversleep = Oversleep()
    assert oversleep.early_s == 0
    for _ in range(200):
        oversleep.add(0.0101, 0.010)
    assert abs(oversleep.early_s - 0.000125) < 0.000001


def test_it_is_forgotten_when_the_machine_gets_busy() -> None:
    oversleep = Oversleep()
    for slept_s in [0.0102] * 200 + [0.01001] * 200:
        oversleep.add(slept_s, 0.010)
    assert oversleep.early_s < 0.00002


def test_a_process_that_was_kept_waiting_does_not_stay_awake_for_it() -> None:
    oversleep = Oversleep()
    for _ in range(200):
        oversleep.add(5.0, 0.010)
    assert oversleep.early_s <= 0.0003


def test_a_sleep_that_was_too_short_counts_as_exact() -> None:
    oversleep = Oversleep()
    oversleep.add(0.009, 0.010)
    assert oversleep.early_s == 0
