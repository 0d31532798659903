from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from blockstep.commands import LazyGroup, nearest_hint
from support.plugin import install

SOURCE = '''
    """A module that says so when it is imported."""
    import click

    print("IMPORTED")

    @click.command()
    @click.option("--size", type=int, help="How large.")
    def paint(size):
        """Paint a line. And more that no list shows."""
        click.echo(f"painted {size}")

    @click.command(short_help="Told by a keyword.")
    def carve():
        """Not this."""

    @click.command(hidden=True)
    def secret():
        """Nor this."""

    not_a_command = 42
'''


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[dict[str, str]], None]]:
    """Installs the commands it is called with, beside those of this project."""

    def installed(entry_points: dict[str, str]) -> None:
        monkeypatch.syspath_prepend(str(install(tmp_path / "site", entry_points, SOURCE)))

    yield installed
    sys.modules.pop("made_up", None)


def run(*args: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(LazyGroup(name="blockstep"), list(args))
    return result.exit_code, result.stdout, result.stderr


def listed(out: str) -> dict[str, str]:
    """The commands of a help text, each with its line; how far they stand apart depends on the longest name."""
    lines = out.partition("Commands:\n")[2].splitlines()
    return {name: text.strip() for name, _, text in (line.strip().partition(" ") for line in lines)}


def test_a_command_is_found_through_its_entry_point(plugin: Callable[[dict[str, str]], None]) -> None:
    plugin({"paint": "made_up:paint"})
    assert run("paint", "--size", "3") == (0, "IMPORTED\npainted 3\n", "")


def test_the_list_imports_nothing(plugin: Callable[[dict[str, str]], None]) -> None:
    plugin({"paint": "made_up:paint"})
    _, out, _ = run("--help")
    assert listed(out)["paint"] == "Paint a line."
    assert "IMPORTED" not in out
    assert "made_up" not in sys.modules


def test_a_command_whose_keywords_speak_is_asked_itself(plugin: Callable[[dict[str, str]], None]) -> None:
    plugin({"carve": "made_up:carve", "secret": "made_up:secret"})
    _, out, _ = run("--help")
    assert listed(out)["carve"] == "Told by a keyword."
    assert "secret" not in out


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("no_such_module:x", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("made_up:no_such_name", "AttributeError: module 'made_up' has no attribute 'no_such_name'"),
        ("made_up:not_a_command", "made_up:not_a_command is not a click command"),
    ],
)
def test_a_broken_command_costs_one_line_and_nothing_else(
    plugin: Callable[[dict[str, str]], None], value: str, why: str
) -> None:
    plugin({"paint": "made_up:paint", "wreck": value})
    sentence = f"the command 'wreck' of made-up does not load: {why}"
    code, out, err = run("--help")
    assert code == 0
    assert listed(out)["paint"] == "Paint a line."
    assert [line for line in err.splitlines() if "wreck" in line] == [f"blockstep: warning: {sentence}"]
    code, _, err = run("wreck")
    assert (code, err) == (1, f"Error: {sentence}\n")
    assert run("paint", "--size", "1")[0] == 0


def test_a_plugin_cannot_take_the_place_of_a_command_of_ours(plugin: Callable[[dict[str, str]], None]) -> None:
    plugin({"get": "made_up:paint"})
    code, out, _ = run("get", "--help")
    assert "painted" not in out
    assert "IMPORTED" not in out
    assert code in (0, 1)


def test_an_unknown_command_names_the_nearest(plugin: Callable[[dict[str, str]], None]) -> None:
    plugin({"paint": "made_up:paint"})
    code, _, err = run("pant")
    assert code == 2
    assert "no command 'pant'; did you mean 'paint'?" in err


def test_a_command_given_to_the_group_itself_is_listed_too() -> None:
    group = LazyGroup(name="blockstep", commands=[click.Command("here", help="Close by.")])
    assert "here" in group.list_commands(click.Context(group))
    assert "Close by." in CliRunner().invoke(group, ["--help"]).stdout


def test_completion_goes_on_without_a_broken_command(plugin: Callable[[dict[str, str]], None]) -> None:
    plugin({"wreck": "no_such_module:x"})
    group = LazyGroup(name="blockstep")
    assert group.get_command(click.Context(group, resilient_parsing=True), "wreck") is None


def test_a_hint_names_one_or_all() -> None:
    assert nearest_hint("prot", ["port", "root"]) == "; did you mean 'port'?"
    assert nearest_hint("xyz", ["root", "port"]) == "; there is port, root"
    assert nearest_hint("xyz", []) == ""
