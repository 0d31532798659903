"""The settings file, read again: the same command line over the file as it is now.

A flag that was given still wins over the environment, and that over the file, because click decides it again with the
words that it kept. The file may be gone or wrong, or no longer readable after `--user`: then nothing changes and the
reason is told.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from blockstep.protocol.errors import LocalError
from blockstep.settings import read_settings, settings_for

__all__ = ["settings_file", "words_again"]


def settings_file(context: click.Context) -> Path | None:
    """What `--config` of the whole command line names."""
    path = context.find_root().params.get("config")
    return path if isinstance(path, Path) else None


def words_again(context: click.Context) -> dict[str, Any]:
    """The parameters of a command that is running, as they would be if it were started now. LocalError.

    There must be a settings file; its name is relative to where the process started.
    """
    path = settings_file(context)
    if path is None:
        raise LocalError("there is no settings file to read again (blockstep --config FILE serve ...)")
    try:
        return _words(context, path)
    except click.ClickException as error:
        raise LocalError(f"nothing was reloaded: {error.format_message()}") from error


def _words(context: click.Context, path: Path) -> dict[str, Any]:
    root = context.find_root()
    name = context.info_name or ""
    commands = root.command.list_commands(root) if isinstance(root.command, click.Group) else [name]
    table = read_settings(path, commands).get(name, {})
    defaults = settings_for(context.command, table, f"{path}: [{name}]")
    prefix = context.auto_envvar_prefix
    with context.command.make_context(name, [], default_map=defaults, auto_envvar_prefix=prefix) as fresh:
        words = dict(fresh.params)
    for word in words:
        if context.get_parameter_source(word) is ParameterSource.COMMANDLINE:
            words[word] = context.params[word]
    return words
