"""The verdicts of the bench: a ratio is taken turn by turn, and what was not measured is not judged."""

from __future__ import annotations

from typing import Any

import pytest

from verdicts import ratio_to_fastest, verdicts


def test_a_ratio_is_taken_against_the_fastest_turn_by_turn() -> None:
    rates = {"blockstep": [30.0, 60.0, 33.0], "slow": [1.0, 1.0, 1.0], "fast": [10.0, 20.0, 10.0]}
    ratio = ratio_to_fastest(rates, ["slow", "fast", "missing"])
    assert ratio is not None
    assert (ratio.other, ratio.median, ratio.low) == ("fast", 3.0, 3.0)
    assert ratio.high == pytest.approx(3.15)


def test_noise_may_be_allowed_for() -> None:
    ratio = ratio_to_fastest({"blockstep": [9.0, 9.9, 10.6], "other": [10.0] * 3}, ["other"])
    assert ratio is not None
    assert not ratio.reaches(1.0)
    assert ratio.reaches(1.0, within_noise=True)


@pytest.mark.parametrize("rates", [{}, {"blockstep": [1.0]}, {"other": [1.0]}, {"blockstep": [], "other": [1.0]}])
def test_no_ratio_without_both_sides(rates: dict[str, list[float]]) -> None:
    assert ratio_to_fastest(rates, ["other"]) is None


def test_an_empty_run_holds_and_breaks_nothing() -> None:
    found = verdicts({})
    assert len(found) == 12
    assert {each["word"] for each in found} == {"not measured"}


def loss_record(ours: list[float | None], theirs: list[float | None]) -> dict[str, Any]:
    servers = {"blockstep": ours, "dnsmasq": theirs}
    runs = {name: [{"seconds": each} for each in times] for name, times in servers.items()}
    return {"loss": [{"loss_percent": 5.0, "blksize": 512, "windowsize": 16, "limit_s": 20.0, "servers": runs}]}


@pytest.mark.parametrize(
    ("ours", "theirs", "word"),
    [
        ([0.1, 0.2, 0.3], [0.3, 0.3, 0.3], "PASS"),
        ([0.1, 0.4, 0.5], [0.3, 0.3, 0.3], "falls short"),
        ([0.1, 0.2, None], [None, None, None], "PASS"),
        ([None, None, 0.1], [0.3, 0.3, 0.3], "falls short"),
    ],
)
def test_a_transfer_that_never_ended_counts_as_the_slowest(
    ours: list[float | None], theirs: list[float | None], word: str
) -> None:
    words = [
        each["word"] for each in verdicts(loss_record(ours, theirs)) if "blksize 512, windowsize 16" in each["demand"]
    ]
    assert words == [word]


def test_a_crowd_that_leaves_something_behind_falls_short() -> None:
    run = {"failed": 0, "asked_again": 0, "mb_s": 2.0, "left": {"children": 0, "zombies": 1, "descriptors": 0}}
    record = {"clients": 500, "size_bytes": 4000, "windowsize": 1, "servers": {"blockstep": [run]}}
    [verdict] = [each for each in verdicts({"crowds": [record]}) if each["demand"].startswith("500")]
    assert verdict["word"] == "falls short"
    assert verdict["figures"] == "1 storms: 0 failed, 0 asked again, 1 left over"
