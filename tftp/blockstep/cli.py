"""The one command: `blockstep COMMAND ...`.

Rules of this file: `main` is the outermost place, and the only one, where an error becomes an exit code and a line on
stderr. What the commands are is decided by what is installed (commands.py). A flag wins over its environment variable
(`BLOCKSTEP_SERVE_PORT` for `serve --port`), that over the settings file, that over the default.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from blockstep import __version__
from blockstep.commands import LazyGroup
from blockstep.exits import ExitCode, exit_code_of
from blockstep.protocol.errors import TftpError
from blockstep.settings import read_settings, settings_for

__all__ = ["cli", "main"]


@click.group(
    cls=LazyGroup,
    context_settings={"auto_envvar_prefix": "BLOCKSTEP", "help_option_names": ["-h", "--help"]},
    epilog="Every option can be set in the environment by its long name (BLOCKSTEP_SERVE_MAX_UPLOAD=64M) and in a "
    "settings file.",
)
@click.option(
    "--config",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Settings file: TOML with one table for each command, such as [serve].",
)
@click.version_option(__version__, prog_name="blockstep", allow_from_autoenv=False)
@click.pass_context
def cli(ctx: click.Context, config: Path | None) -> None:
    """TFTP you can trust on a bad network."""
    group = ctx.command
    if config is None or ctx.invoked_subcommand is None or not isinstance(group, click.Group):
        return
    name = ctx.invoked_subcommand
    table = read_settings(config, group.list_commands(ctx)).get(name, {})
    command = group.get_command(ctx, name)
    if command is not None:
        ctx.default_map = {name: settings_for(command, table, f"{config}: [{name}]")}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line (default: the process's own) and return its exit code, as exits.py defines them."""
    _hold_standard_descriptors()
    try:
        result = cli.main(args=argv, prog_name="blockstep", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort as error:  # click's word for Ctrl-C and for the end of input at a prompt
        click.echo("blockstep: stopped", err=True)
        return int(exit_code_of(error.__cause__ or error))
    except KeyboardInterrupt as error:
        return int(exit_code_of(error))
    except TftpError as error:
        click.echo(f"blockstep: {error}", err=True)
        return int(exit_code_of(error))
    return int(result) if isinstance(result, int) else int(ExitCode.OK)


def _hold_standard_descriptors() -> None:
    """Where we were started without one of the three, no file or socket may get its number: it would be written to.

    Reading from such an input and writing to such an output fail, as they should; words for nobody go nowhere.
    """
    for descriptor, useless in enumerate((os.O_WRONLY, os.O_RDONLY, os.O_WRONLY)):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, useless)  # the lowest number that is free
    if sys.stderr is None:
        sys.stderr = os.fdopen(2, "w")
