"""`blockstep lab`: the group whose subcommands need more than one link.

Decided here: which subcommands there are. Each is in a module of its own, named in the table; what it needs beyond the
command line it imports when it runs.
"""

from __future__ import annotations

from importlib import import_module

import click

__all__ = ["lab"]

# Each name with its module and function.
_SUBCOMMANDS = {
    "run": ("blockstep_lab.lab_run", "run"),
    "shell": ("blockstep_lab.lab_shell", "shell"),
    "exec": ("blockstep_lab.lab_shell", "execute"),
    "simulate": ("blockstep_lab.simulate_command", "simulate"),
}


@click.group()
def lab() -> None:
    """Put real programs on a bad network.

    Hosts of their own on this machine, and between them a link that fails to order.
    """


for _name, (_module, _function) in _SUBCOMMANDS.items():
    lab.add_command(getattr(import_module(_module), _function), _name)
