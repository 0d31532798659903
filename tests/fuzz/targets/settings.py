"""The settings file: tables for the commands, or a usage error that says what is wrong; no other end."""

from __future__ import annotations

import os
import tempfile
from functools import cache
from pathlib import Path

import click

from blockstep.settings import read_settings, settings_for
from blockstep_client.command import get
from blockstep_server.command import serve

_COMMANDS = {"serve": serve, "get": get}


def one_input(data: bytes) -> None:
    """`data` is the file."""
    path = _file()
    path.write_bytes(data)
    try:
        tables = read_settings(path, _COMMANDS)
        settings = {name: settings_for(_COMMANDS[name], table, f"[{name}]") for name, table in tables.items()}
    except click.UsageError as error:
        assert error.message
        return
    for name, table in settings.items():
        known = {parameter.name for parameter in _COMMANDS[name].params}
        assert table.keys() <= known, "a setting that no option has"
        assert all(isinstance(each, str | bool) for value in table.values() for each in _each(value))


def _each(value: object) -> list[object]:
    return list(value) if isinstance(value, list) else [value]


@cache
def _file() -> Path:
    """A file without a name, in memory where there is such a thing; it ends with the process."""
    if hasattr(os, "memfd_create"):
        return Path(f"/proc/self/fd/{os.memfd_create('settings')}")
    fd, name = tempfile.mkstemp()
    os.close(fd)
    return Path(name)
