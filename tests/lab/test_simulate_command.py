from __future__ import annotations

import json

import pytest
from click.testing import CliRunner, Result

from blockstep_lab.simulate_command import simulate


def run(*arguments: str) -> Result:
    return CliRunner().invoke(simulate, arguments)


def test_the_table_says_what_was_run_and_what_came_of_it() -> None:
    words = ["loss", "5%", "delay", "20ms", "--size", "50kB", "-b", "512", "-w", "4", "-n", "20", "--seed", "7"]
    result = run(*words, "--rule", "drop DATA 3 once")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[:4] == [
        "get 50 kB, blksize 512, windowsize 4, 20 runs, seeds 7 to 26",
        "up    netem delay 20ms loss 5%",
        "down  netem delay 20ms loss 5%",
        "rule  drop DATA 3 once",
    ]
    assert lines[4].split() == ["min", "median", "p90", "p99", "max"]
    assert [line.split()[0] for line in lines[5:11]] == ["time", "goodput", "resends", "timeouts", "packets", "lost"]
    assert "of transfers in" in lines[11]


def test_the_same_seed_gives_the_same_json() -> None:
    words = ("loss", "5%", "--size", "20kB", "-n", "5", "--seed", "7", "--op", "put", "--json")
    first, second = (json.loads(run(*words).stdout) for _ in range(2))
    assert {**first, "wall_s": 0} == {**second, "wall_s": 0}
    assert first["op"] == "put"
    assert [each["seed"] for each in first["runs"]] == [7, 8, 9, 10, 11]
    assert set(first["seconds"]) == {"least", "median", "p90", "p99", "most"}
    assert first["failures"] == {}


def test_one_run_of_many_can_be_seen_again_by_its_seed() -> None:
    words = ("loss", "10%", "delay", "5ms", "--size", "20kB", "--json")
    many = json.loads(run(*words, "-n", "5", "--seed", "7").stdout)
    one = json.loads(run(*words, "-n", "1", "--seed", "9").stdout)
    assert one["runs"] == [many["runs"][2]]


def test_failures_are_told_with_their_seeds_and_exit_with_1() -> None:
    result = run("loss", "100%", "-n", "7", "--seed", "3")
    assert result.exit_code == 1
    assert "failed 7 of 7: no answer for 24.0 s (--seed 3, 4, 5, 6, 7, ...)" in result.stdout
    assert "goodput" not in result.stdout


def test_a_single_run_prints_its_seed_and_one_value_for_each_row() -> None:
    result = run("lan", "--size", "20kB")
    assert ", seed " in result.stdout.splitlines()[0]
    assert "median" not in result.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["dealy", "5ms"], "did you mean 'delay'?"),
        (["loss", "200%"], "200%"),
        (["--rule", "dorp DATA 3"], "did you mean 'drop'?"),
        (["--windowsise", "3"], "No such option"),
        (["--size", "2GiB"], "1 GiB at most"),
        (["--size", "much"], "is no size"),
    ],
)
def test_bad_words_are_answered_kindly(words: list[str], said: str) -> None:
    result = run(*words)
    assert result.exit_code == 2
    assert said in result.stderr
