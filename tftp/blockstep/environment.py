"""The environment: one variable for each option, named like its long option (`BLOCKSTEP_SERVE_MAX_UPLOAD=64M`).

Rules of this file: exactly one name for each option, the one that a user can guess. click alone would take the name of
the Python parameter (`..._MAX_UPLOAD_BYTES`) and pass over the guessed one without a word.
"""

from __future__ import annotations

import click

__all__ = ["name_variables"]


def name_variables(command: click.Command, *names: str) -> None:
    """Give each option of a command, and of its subcommands, its variable; no other name is heard any more.

    `names` are those of the program and of the command; the variable is these and the option's long name, in capitals,
    with `_` between. An option that names its own variable keeps it; one that wants none, or that has no long name,
    gets none.
    """
    for option in command.params:
        if not isinstance(option, click.Option):
            continue
        long_name = next((name[2:] for name in option.opts if name.startswith("--")), None)
        if option.envvar is None and option.allow_from_autoenv and long_name is not None:
            option.envvar = "_".join([*names, long_name]).replace("-", "_").upper()
        option.allow_from_autoenv = False
    if isinstance(command, click.Group):
        for name, subcommand in command.commands.items():
            name_variables(subcommand, *names, name)
