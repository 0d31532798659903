from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from blockstep_lab.conditions import Conditions
from blockstep_lab.link_params import LinkCommand, both_conditions, link_options
from blockstep_lab.links import LINKS


@click.command(cls=LinkCommand)
@link_options
@click.option("--number", type=int)
def show(words: Sequence[str], up: Conditions | None, down: Conditions | None, rules: Sequence[Any], **_: Any) -> None:
    """Print what was understood."""
    click.echo("\n".join(map(str, [*both_conditions(words, up, down), *rules])))


def run(*arguments: str) -> Result:
    return CliRunner().invoke(show, arguments)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], ["", ""]),
        (["loss", "5%"], ["loss 5%", "loss 5%"]),
        (["loss 5% delay 1ms"], ["delay 1ms loss 5%", "delay 1ms loss 5%"]),
        (["loss", "5%", "--up", "delay 2ms"], ["delay 2ms", "loss 5%"]),
        (["lte"], [str(LINKS["lte"].up), str(LINKS["lte"].down)]),
        (["--rule", "drop DATA 3 once", "--rule", "drop ACK"], ["", "", "drop DATA 3 once", "drop ACK"]),
        (["rate", "10mbit", "-14", "--number", "3"], ["rate 10mbit -14", "rate 10mbit -14"]),
    ],
)
def test_words_become_conditions(arguments: list[str], expected: list[str]) -> None:
    assert run(*arguments).stdout.splitlines() == expected


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["dealy", "5ms"], "did you mean 'delay'?"),
        (["satelite"], "did you mean 'satellite'?"),
        (["--up", "loss 200%"], "--up"),
        (["loss", "5%", "--numbre", "3"], "--number"),
    ],
)
def test_a_mistake_names_the_nearest_right_word(arguments: list[str], said: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert said in result.stderr


def test_named_links_are_listed_with_their_sources() -> None:
    result = run("--links")
    assert result.exit_code == 0
    assert all(name in result.stdout and link.source in result.stdout for name, link in LINKS.items())
