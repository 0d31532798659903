from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from blockstep.cli import cli
from blockstep.environment import name_variables
from blockstep_lab.conditions import Conditions
from blockstep_lab.link_params import parsed


def options(command: click.Command, *names: str) -> Iterator[tuple[str, click.Option]]:
    """Every option of a command and below it, each with the words of its command."""
    yield from ((" ".join(names), each) for each in command.params if isinstance(each, click.Option))
    if isinstance(command, click.Group):
        ctx = click.Context(command, info_name=names[-1], auto_envvar_prefix="_".join(names).upper())
        for name in command.list_commands(ctx):
            below = command.get_command(ctx, name)
            assert below is not None
            yield from options(below, *names, name)


def test_every_option_of_every_command_is_set_by_its_long_name() -> None:
    unheard = []
    for command, option in options(cli, "blockstep"):
        long_names = {name[2:] for name in option.opts if name.startswith("--")} - {"config", "version"}
        wanted = {f"{command} {name}".replace(" ", "_").replace("-", "_").upper() for name in long_names}
        if wanted and option.envvar not in wanted:
            unheard.append((command, option.opts, option.envvar))
    assert unheard == []


def test_the_name_in_the_code_is_not_heard() -> None:
    assert [option.name for command, option in options(cli, "blockstep", "x") if command.count(" ") > 1] != []
    heard = [option.opts for command, option in options(cli, "blockstep") if option.allow_from_autoenv]
    assert heard == [["--config"]]


@pytest.fixture
def command() -> click.Command:
    @click.command()
    @click.option("-m", "--max-upload", "max_upload_bytes", type=int, default=0)
    @click.option("-W", "quick", is_flag=True)
    @click.option("--bind", "binds", multiple=True)
    @click.option("--unix", multiple=True, type=click.Path(path_type=Path))
    @click.option("--rule", "rules", multiple=True, type=parsed(Conditions.parse))
    @click.option("--own", envvar="MY_OWN")
    @click.option("--none", allow_from_autoenv=False)
    def command(**words: object) -> None:
        click.echo(" ".join(f"{name}={value}" for name, value in sorted(words.items()) if value))

    name_variables(command, "blockstep", "up-load")
    return command


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"BLOCKSTEP_UP_LOAD_MAX_UPLOAD": "7"}, "max_upload_bytes=7"),
        ({"BLOCKSTEP_UP_LOAD_MAX_UPLOAD": ""}, ""),
        ({"BLOCKSTEP_UP_LOAD_MAX_UPLOAD_BYTES": "7"}, ""),
        ({"BLOCKSTEP_UP_LOAD_QUICK": "1", "BLOCKSTEP_UP_LOAD_W": "1"}, ""),
        ({"BLOCKSTEP_UP_LOAD_BIND": "127.0.0.1  ::1"}, "binds=('127.0.0.1', '::1')"),
        ({"BLOCKSTEP_UP_LOAD_UNIX": "/a b:/c"}, f"unix={(Path('/a b'), Path('/c'))}"),
        ({"MY_OWN": "mine"}, "own=mine"),
        ({"BLOCKSTEP_UP_LOAD_OWN": "mine", "BLOCKSTEP_UP_LOAD_NONE": "1"}, ""),
    ],
)
def test_what_a_variable_says(command: click.Command, variables: dict[str, str], said: str) -> None:
    done = CliRunner().invoke(command, [], env=variables, auto_envvar_prefix="BLOCKSTEP_UP_LOAD")
    assert (done.output.strip(), done.exit_code) == (said, 0)


def test_values_of_several_words_have_a_semicolon_between(command: click.Command) -> None:
    done = CliRunner().invoke(command, [], env={"BLOCKSTEP_UP_LOAD_RULE": "delay 1ms; loss 2%"})
    assert done.output.strip() == f"rules={(Conditions.parse('delay 1ms'), Conditions.parse('loss 2%'))}"


def test_what_is_wrong_is_said_with_the_options_name(command: click.Command) -> None:
    done = CliRunner().invoke(command, [], env={"BLOCKSTEP_UP_LOAD_MAX_UPLOAD": "much"})
    assert done.exit_code == 2
    assert "'-m' / '--max-upload'" in done.output
    assert "'much' is not a valid integer" in done.output
