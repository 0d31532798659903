from __future__ import annotations

import importlib.util
import json
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
from click.testing import CliRunner, Result

from blockstep.cli import main
from blockstep_lab.compare import session as sessions
from blockstep_lab.compare.results import CompareResult
from blockstep_lab.compare_command import compare
from blockstep_lab.netns.namespaces import LabUnavailable
from support.labs import obstacle

QUICK = ("--simulate", "all", "--size", "20k", "--windowsize", "4,16", "-n", "2", "-j", "1")


def run(*arguments: str) -> Result:
    return CliRunner().invoke(compare, arguments, standalone_mode=False)


def refused(*arguments: str) -> str:
    result = CliRunner().invoke(compare, arguments)
    assert result.exit_code == 2, result.output
    return result.stderr


def test_the_table_goes_to_stdout_and_the_record_where_it_is_wanted(tmp_path: Path) -> None:
    path = tmp_path / "out.json"
    result = run(*QUICK, "--seed", "7", "--json", str(path))
    assert result.return_value == 0, result.output
    assert "UDP window 16 (simulated)" in result.stdout
    record = CompareResult.read(path)
    assert record.complete
    command = "blockstep compare --size 20480 --windowsize 4,16 --repeat 2 --simulate all --seed 7"
    assert " ".join(record.method.command) == command


def test_the_command_in_the_record_repeats_it(tmp_path: Path) -> None:
    first, second = tmp_path / "1.json", tmp_path / "2.json"
    run(*QUICK, "--json", str(first))
    record = CompareResult.read(first)
    again = run(*record.method.command[2:], "--json", str(second))
    assert again.return_value == 0
    assert CompareResult.read(second).cells == record.cells


def test_json_can_take_the_place_of_the_table() -> None:
    result = run(*QUICK, "--json", "-")
    assert CompareResult.from_json(result.stdout).complete


def test_a_resumed_record_keeps_its_seed(tmp_path: Path) -> None:
    path = tmp_path / "out.json"
    run(*QUICK, "--json", str(path))
    before = CompareResult.read(path)
    assert run(*QUICK, "--json", str(path), "--resume").return_value == 0
    assert CompareResult.read(path).runs == before.runs


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--resume",), "--resume goes on with the record that --json FILE names"),
        (("--resume", "--json", "-"), "--resume goes on with the record that --json FILE names"),
        (("--host", "h"), "--host needs FILE"),
        (("--host", "h", "f", "--loss", "1"), "--loss is for links and files of ours"),
        (("--host", "h", "f", "--link", "lte"), "--link is for links and files of ours"),
        (("--from", "a.json", "--loss", "1"), "--loss has no meaning beside it"),
        (("--from", "a.json", "vmlinuz"), "FILE has no meaning beside it"),
        (("--from", "a.json", "--json", "b.json"), "--json FILE would only copy"),
        (("--report", "/nowhere/a.html"), "--report: there is no folder /nowhere"),
        (("--loss", "x"), "the loss must be a number"),
        (("--link", "ltee"), "did you mean 'lte'"),
        (("/nowhere/file",), "No such file or directory"),
    ],
)
def test_a_mistake_is_answered_before_anything_begins(arguments: tuple[str, ...], message: str) -> None:
    assert message in refused(*arguments)


def test_a_record_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out.json").write_text("{}")
    result = run("--resume", "--json", str(tmp_path / "out.json"))
    assert "not a comparison of schema" in str(result.exception)


def test_without_namespaces_it_says_why_and_what_there_is_instead(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_arguments: object, **_options: object) -> None:
        raise LabUnavailable("no network namespaces here: a container may forbid it")

    monkeypatch.setattr(sessions, "Arena", refuse)
    text = refused("--size", "10k")
    assert "a container may forbid it" in text
    assert "blockstep link" in text
    assert "--simulate all" in text
    assert "--host" in text


def made_up_module(calls: list[tuple[CompareResult, Path]]) -> ModuleType:
    def write(record: CompareResult, path: Path) -> None:
        calls.append((record, path))

    def write_all(record: CompareResult, directory: Path) -> list[Path]:
        calls.append((record, directory))
        return [directory / "a.png"]

    module = ModuleType("made_up")
    vars(module).update(write=write, write_all=write_all)
    return module


def test_pictures_are_made_from_the_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[CompareResult, Path]] = []
    for name in ("html_report", "plots"):
        monkeypatch.setitem(sys.modules, f"blockstep_lab.compare.{name}", made_up_module(calls))
    result = run(*QUICK, "--report", str(tmp_path / "r.html"), "--png", str(tmp_path))
    assert [path for _, path in calls] == [tmp_path / "r.html", tmp_path]
    assert all(record.complete for record, _ in calls)
    assert f"chart: {tmp_path / 'a.png'}" in result.stderr


@pytest.mark.parametrize(
    ("option", "module", "extra"), [("--report", "html_report", "report"), ("--png", "plots", "plots")]
)
def test_without_the_extra_the_table_is_there_and_the_message_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: str, module: str, extra: str
) -> None:
    monkeypatch.setitem(sys.modules, f"blockstep_lab.compare.{module}", None)
    result = CliRunner().invoke(compare, [*QUICK, option, str(tmp_path / "out")])
    assert result.exit_code == 2
    assert "UDP window 16 (simulated)" in result.stdout
    assert f"pip install 'blockstep[{extra}]'" in result.stderr


def test_a_record_is_shown_again_without_measuring(tmp_path: Path) -> None:
    path, page, pictures = tmp_path / "out.json", tmp_path / "r.html", tmp_path / "png"
    first = run(*QUICK, "--json", str(path))
    again = run("--from", str(path), "--report", str(page), "--png", str(pictures))
    assert again.return_value == 0
    assert again.stdout == first.stdout
    assert f"report: {page}" in again.stderr
    assert sorted(f"chart: {each}" for each in pictures.iterdir()) == sorted(
        line for line in again.stderr.splitlines() if line.startswith("chart: ")
    )
    assert page.read_text().startswith("<!doctype html>")


def test_a_record_that_was_cut_off_has_all_that_its_runs_allow(tmp_path: Path) -> None:
    path = tmp_path / "out.json"
    run(*QUICK, "--json", str(path))
    whole = CompareResult.read(path)
    replace(whole, complete=False, runs=whole.runs[:3], cells=(), lines=(), findings=(), summary="").write(path)
    shown = run("--from", str(path))
    assert "UNFINISHED: 3 of 8 runs" in shown.stdout
    assert "UDP window 16 (simulated)" in shown.stdout
    assert CompareResult.from_json(run("--from", str(path), "--json", "-").stdout).cells


def test_a_record_that_cannot_be_read_is_a_mistake(tmp_path: Path) -> None:
    (tmp_path / "out.json").write_text("{}")
    assert "not a comparison of schema" in refused("--from", str(tmp_path / "out.json"))
    assert "No such file" in refused("--from", str(tmp_path / "nothing.json"))


@pytest.mark.parametrize(("option", "library"), [("report", "plotly"), ("png", "matplotlib")])
def test_a_missing_library_is_told_before_minutes_go_into_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: str, library: str
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == library else object())
    stderr = run(*QUICK, f"--{option}", str(tmp_path / "out")).stderr
    assert stderr.startswith(f"blockstep: there will be no --{option} without: pip install 'blockstep[")


def test_the_command_is_found_by_its_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", "--help"]) == 0
    assert "Move the same file over UDP and over TCP" in capsys.readouterr().out


@pytest.mark.netns
def test_a_small_comparison_in_namespaces_from_end_to_end(tmp_path: Path) -> None:
    if obstacle():
        pytest.skip(obstacle())
    path = tmp_path / "out.json"
    words = ("--size", "100k", "--loss", "0,2", "--delay", "2ms", "--windowsize", "16", "--cc", "reno", "-n", "2")
    result = run(*words, "--seed", "7", "--json", str(path))
    record = CompareResult.read(path)
    assert record.complete
    assert len(record.runs) == 2 * (2 * 2 + 3)
    assert {run.sha256 for run in record.runs if run.state == "ok"} == {record.method.file_sha256}
    assert not [run for run in record.runs if run.state not in ("ok", "void")]
    assert result.return_value == (0 if any(cell.goodput_bit_s for cell in record.cells) else 1)
    assert json.loads(path.read_text())["method"]["carrier"] in ("tun", "veth")
    assert "TCP reno" in result.stdout
