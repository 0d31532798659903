from __future__ import annotations

import click
import pytest
from click.testing import CliRunner

from blockstep_server.params import BIND, MTU, SIZE
from blockstep_server.values import Bind


@click.command()
@click.option("--size", type=SIZE, default=None)
@click.option("--bind", type=BIND, default=Bind("x"))
@click.option("--mtu", type=MTU, default=None)
def show(size: int | None, bind: Bind, mtu: int | None) -> None:
    """What was understood."""
    click.echo(f"{size} {bind} {mtu}")


@pytest.mark.parametrize(
    ("arguments", "output"),
    [
        ([], "None x None\n"),
        (["--size", "10k", "--bind", "[::1]:69", "--mtu", "1500"], "10240 [::1]:69 1500\n"),
        (["--mtu", "auto"], "None x auto\n"),
    ],
)
def test_words_become_values(arguments: list[str], output: str) -> None:
    assert CliRunner().invoke(show, arguments).output == output


def test_a_bad_word_is_a_usage_error_with_the_sentence_of_the_parser() -> None:
    result = CliRunner().invoke(show, ["--size", "10X"])
    assert result.exit_code == 2
    assert "'10X' is no size" in result.output
