from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from blockstep_lab.lab_command import lab
from blockstep_lab.scenario import shipped_scenarios

PASSES = '[[clients]]\nget = "a.bin"\nsize = 10\n'
FAILS = PASSES + "expect = { exit = 68 }\n"


def invoke(*words: str) -> Result:
    return CliRunner().invoke(lab, ["run", *words])


@pytest.fixture
def case(tmp_path: Path) -> Path:
    path = tmp_path / "case.toml"
    path.write_text(PASSES)
    return path


def test_the_list_has_every_scenario_that_is_shipped() -> None:
    result = invoke("--list")
    assert result.exit_code == 0
    assert [line.split()[0] for line in result.stdout.splitlines()] == [path.stem for path in shipped_scenarios()]


def test_an_unknown_scenario_is_answered_with_the_nearest() -> None:
    result = invoke("boot-strom")
    assert result.exit_code == 2
    assert "did you mean 'boot-storm'?" in result.stderr


def test_a_mistake_in_one_file_stops_before_any_is_run(tmp_path: Path) -> None:
    broken = tmp_path / "broken.toml"
    broken.write_text("abuot = ''\n" + PASSES)
    result = invoke("lost-error", str(broken))
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "did you mean 'about'?" in result.stderr


def test_one_capture_is_for_one_scenario(tmp_path: Path) -> None:
    result = invoke("lost-error", "lost-oack", "--pcap", str(tmp_path / "x"))
    assert result.exit_code == 2


@pytest.mark.netns
def test_a_verdict_is_an_exit_code_and_everything_is_told(case: Path) -> None:
    failing = case.with_name("failing.toml")
    failing.write_text(FAILS)
    result = invoke(str(case), str(failing), "--seed", "77")
    assert result.exit_code == 1
    # On a busy machine a block may go out twice before its ACK has been read.
    assert re.search(r"^  ok      get a\.bin: exit 0, 1 blocks, \d+ sent again$", result.stdout, re.MULTILINE)
    assert "  FAILED  get a.bin: exit code 0, 68 was expected" in result.stdout
    assert result.stdout.count("  server  blockstep: serving") == 1
    assert result.stdout.count("seed 77, router SCHED_") == 2
    assert result.stdout.endswith("FAILED  failing\n")


@pytest.mark.netns
def test_json_for_programs(case: Path) -> None:
    result = invoke(str(case), "--json")
    said = json.loads(result.stdout)
    assert said["scenario"] == "case"
    assert said["clients"][0]["seen"]["blocks"] == 1
    assert said["checks"]["ring_drops"] == 0


@pytest.mark.netns
def test_of_many_copies_only_some_are_told(case: Path) -> None:
    case.write_text(PASSES + "copies = 6\n")
    result = invoke(str(case))
    assert result.stdout.count("  ok      get a.bin") == 3
    assert "and 3 more of it" in result.stdout


def test_without_a_lab_there_is_a_reason(case: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyroute2", None)
    result = invoke(str(case))
    assert result.exit_code == 2
    assert "pip install 'blockstep[lab]'" in result.stderr
