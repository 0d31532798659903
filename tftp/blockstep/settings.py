"""The settings file: TOML, one table for each command, keys named like the long options without their dashes.

    [serve]
    upload = "create"
    blksize-max = 1428
    bind = ["127.0.0.1", "::1"]

Rules of this file: a setting is what the same text on the command line would be, so numbers are handed on as text and
checked by the option itself; only switches take true and false. A name that nothing has is an error that tells the
nearest one: a setting that is silently ignored is found the day it was needed. The file does not know which commands
there are; they are arguments.
"""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import click

from blockstep.commands import nearest_hint

__all__ = ["read_settings", "settings_for"]

Table = Mapping[str, Any]


def read_settings(path: Path, commands: Collection[str]) -> dict[str, Table]:
    """The file's tables by command name. UsageError if it is not TOML or holds anything else than such tables."""
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise click.UsageError(f"{path}: {error}") from error
    except RecursionError:
        raise click.UsageError(f"{path}: lists or tables stand too deep inside of each other") from None
    for name, table in tables.items():
        if not isinstance(table, dict):
            raise click.UsageError(f"{path}: {name!r} stands outside of a table; write it below [COMMAND]")
        if name not in commands:
            raise click.UsageError(f"{path}: no command for [{name}]{nearest_hint(name, commands)}")
    return tables


def settings_for(command: click.Command, table: Table, where: str) -> dict[str, Any]:
    """One command's table as a click `default_map`; `where` begins every error text, such as `my.toml: [serve]`.

    A table inside of a table belongs to a subcommand. Raises UsageError for a name that the command does not have, and
    for a value of a shape that its option cannot take.
    """
    known = _parameters_by_key(command)
    settings: dict[str, Any] = {}
    for key, value in table.items():
        subcommand = command.commands.get(key) if isinstance(command, click.Group) else None
        parameter = known.get(key.replace("_", "-"))
        if subcommand is not None and isinstance(value, dict):
            settings[key] = settings_for(subcommand, value, f"{where} [{key}]")
        elif parameter is None or parameter.name is None:
            raise click.UsageError(f"{where} has no {key!r}{nearest_hint(key.replace('_', '-'), known)}")
        else:
            settings[parameter.name] = _value(parameter, value, f"{where} {key}")
    return settings


def _parameters_by_key(command: click.Command) -> dict[str, click.Parameter]:
    known: dict[str, click.Parameter] = {}
    for parameter in command.params:
        long_names = [name[2:] for name in parameter.opts if name.startswith("--")]
        for key in long_names or [(parameter.name or "").replace("_", "-")]:
            known.setdefault(key, parameter)
    return known


def _value(parameter: click.Parameter, value: object, where: str) -> object:
    takes_many = parameter.nargs != 1 or getattr(parameter, "multiple", False)
    if takes_many:
        return [_scalar(parameter, each, where) for each in (value if isinstance(value, list) else [value])]
    return _scalar(parameter, value, where)


def _scalar(parameter: click.Parameter, value: object, where: str) -> object:
    is_switch = isinstance(parameter, click.Option) and parameter.is_bool_flag
    if is_switch != isinstance(value, bool):
        raise click.UsageError(f"{where}: {'true or false' if is_switch else 'a value'} is needed, not {_shown(value)}")
    if is_switch:
        return value
    if not isinstance(value, str | int | float):
        raise click.UsageError(f"{where}: one text or number is needed, not {_shown(value)}")
    return str(value)


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | dict):
        return "a list" if isinstance(value, list) else "a table"
    return repr(value) if isinstance(value, str) else str(value)
