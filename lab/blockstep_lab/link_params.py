"""A bad link on a command line: the words, `--up`, `--down`, `--rule` and `--links`, the same for every command.

Decided here: how they are spelt and how a mistake is answered. Not known here: what the link carries.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

import click

from blockstep_lab.conditions import Conditions
from blockstep_lab.links import LINKS, parse_link
from blockstep_lab.rules import Rule
from blockstep_lab.words import WordsError
from blockstep_server.params import Word

__all__ = ["LinkCommand", "Phrase", "both_conditions", "link_options", "parsed"]

_Command = TypeVar("_Command", bound=Callable[..., Any])


class Phrase(Word):
    """A value of several words: where the environment holds more than one of them, `;` stands between, not a blank."""

    envvar_list_splitter = ";"


def parsed(parse: Callable[[str], object]) -> Phrase:
    """An option's type around a parser that raises `WordsError`; click adds the option's name to the error."""
    return Phrase("words", parse)


class LinkCommand(click.Command):
    """Lets `rate 10mbit -14` through as words, and still knows a misspelt option."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        keywords.setdefault("context_settings", {})["ignore_unknown_options"] = True
        super().__init__(*arguments, **keywords)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Refuses what looks like an option and is none."""
        rest = super().parse_args(ctx, args)
        for word in ctx.params.get("words") or ():
            if word.startswith("-") and not word[1:2].isdigit():
                known = [name for option in self.params for name in option.opts]
                raise click.NoSuchOption(word, possibilities=_near(word, known), ctx=ctx)
        return rest


def _near(word: str, known: Sequence[str]) -> list[str]:
    return difflib.get_close_matches(word, known)


def _print_links(ctx: click.Context, _param: click.Parameter, wanted: bool) -> None:
    if not wanted or ctx.resilient_parsing:
        return
    for name, named in LINKS.items():
        click.echo(f"{name}: {named.about}\n    up    {named.up}\n    down  {named.down}\n    from  {named.source}")
    ctx.exit()


_OPTIONS: Final = (
    click.argument("words", nargs=-1, metavar="[NETEM WORDS | LINK NAME]..."),
    click.option("--up", metavar="WORDS", type=parsed(Conditions.parse), help="Conditions from client to server."),
    click.option("--down", metavar="WORDS", type=parsed(Conditions.parse), help="Conditions from server to client."),
    click.option(
        "--rule", "rules", metavar="RULE", type=parsed(Rule.parse), multiple=True, help="Such as 'drop DATA 3 once'."
    ),
    click.option(
        "--links",
        is_flag=True,
        is_eager=True,
        expose_value=False,
        callback=_print_links,
        help="List the links that have a name, and exit.",
    ),
)


def link_options(command: _Command) -> _Command:
    """Gives a command the parameters `words`, `up`, `down` and `rules`; those above it on the page come first."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def both_conditions(
    words: Sequence[str], up: Conditions | None, down: Conditions | None
) -> tuple[Conditions, Conditions]:
    """The conditions up and down: those of the words, unless an option says otherwise for its direction."""
    try:
        both_up, both_down = parse_link(words)
    except WordsError as error:
        raise click.BadArgumentUsage(str(error)) from error
    return up or both_up, down or both_down
