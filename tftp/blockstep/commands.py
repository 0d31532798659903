"""Where the subcommands come from: the entry-point group `blockstep.commands` of everything that is installed.

Rules of this file: no room is imported before its command is asked for. A list of commands needs no import either: the
short help is the first sentence of the docstring, read from the source. A command that does not load costs a warning
line in the list and an error where it was asked for; it never takes the others down. Our own commands win over a
plugin's of the same name.
"""

from __future__ import annotations

import ast
import difflib
from collections.abc import Collection, Iterator
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path

import click

from blockstep.environment import name_variables

__all__ = ["GROUP", "LazyGroup", "nearest_hint"]

GROUP = "blockstep.commands"
_OURS = "blockstep"
# a decorator with one of these says something about the command's line in the list that the docstring does not
_SPEAKS_FOR_ITSELF = {"help", "short_help", "hidden", "deprecated"}


class LazyGroup(click.Group):
    """A click group whose commands are the installed entry points, each loaded when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """All names, sorted, without loading any."""
        return sorted({*self.commands, *_installed()})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, loaded now, or None if there is none. ClickException if it is there and does not load."""
        entry_point = _installed().get(cmd_name)
        if entry_point is None:
            return super().get_command(ctx, cmd_name)
        try:
            command = _load(entry_point)
        except click.ClickException:
            if ctx.resilient_parsing:  # shell completion goes on with the other commands
                return None
            raise
        if ctx.auto_envvar_prefix is not None:
            name_variables(command, ctx.auto_envvar_prefix, cmd_name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does it, but an unknown name is answered with the nearest one there is."""
        name = args[0]
        known = self.list_commands(ctx)
        if name not in known and name[:1].isalnum() and not ctx.resilient_parsing:
            ctx.fail(f"no command {name!r}{nearest_hint(name, known)}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list in `--help`; a broken command is left out with a warning on stderr."""
        names = self.list_commands(ctx)
        limit = formatter.width - 6 - max(map(len, names), default=0)
        rows = list(self._rows(ctx, names, limit))
        if rows:
            with formatter.section("Commands"):
                formatter.write_dl(rows)

    def _rows(self, ctx: click.Context, names: list[str], limit: int) -> Iterator[tuple[str, str]]:
        installed = _installed()
        for name in names:
            try:
                command = _sketch(installed[name]) if name in installed else self.get_command(ctx, name)
            except click.ClickException as error:
                click.echo(f"blockstep: warning: {error.format_message()}", err=True)
                continue
            if command is not None and not command.hidden:
                yield name, command.get_short_help_str(limit)


def nearest_hint(wrong: str, known: Collection[str]) -> str:
    """The end of an error sentence: the name that was probably meant, or else all there are."""
    close = difflib.get_close_matches(wrong, known, n=3, cutoff=0.5)
    if close:
        meant = min(close, key=lambda name: sorted(name) != sorted(wrong))  # two letters swapped, else the closest
        return f"; did you mean {meant!r}?"
    return f"; there is {', '.join(sorted(known))}" if known else ""


def _installed() -> dict[str, EntryPoint]:
    found = sorted(entry_points(group=GROUP), key=lambda each: (_distribution(each) == _OURS, _distribution(each)))
    return {each.name: each for each in found}


def _distribution(entry_point: EntryPoint) -> str:
    return entry_point.dist.name if entry_point.dist is not None else ""


def _load(entry_point: EntryPoint) -> click.Command:
    try:
        command = entry_point.load()
    except Exception as error:
        raise _broken(entry_point, f"{type(error).__name__}: {error}") from error
    if not isinstance(command, click.Command):
        raise _broken(entry_point, f"{entry_point.value} is not a click command")
    return command


def _broken(entry_point: EntryPoint, why: str) -> click.ClickException:
    origin = _distribution(entry_point) or "an unknown package"
    return click.ClickException(f"the command {entry_point.name!r} of {origin} does not load: {' '.join(why.split())}")


def _sketch(entry_point: EntryPoint) -> click.Command:
    """A stand-in that knows the help text only; the command itself where the source does not tell."""
    help_text = _docstring_from_source(entry_point)
    return _load(entry_point) if help_text is None else click.Command(entry_point.name, help=help_text)


def _docstring_from_source(entry_point: EntryPoint) -> str | None:
    try:
        spec = find_spec(entry_point.module)  # imports the package around the module, not the module
        if spec is None or spec.origin is None:
            return None
        body = ast.parse(Path(spec.origin).read_bytes()).body
    except (ImportError, OSError, SyntaxError, ValueError):
        return None  # loading it will say what is wrong
    for node in body:
        if isinstance(node, ast.FunctionDef) and node.name == entry_point.attr:
            calls = [call for call in node.decorator_list if isinstance(call, ast.Call) and _is_command(call)]
            keywords = {keyword.arg for call in calls for keyword in call.keywords}
            return None if keywords & _SPEAKS_FOR_ITSELF else ast.get_docstring(node)
    return None


def _is_command(call: ast.Call) -> bool:
    """`@click.command(...)` or `@click.group(...)`: what their keywords say is about the command as a whole."""
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    return name in ("command", "group")
