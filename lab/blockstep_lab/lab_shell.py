"""`blockstep lab shell` and `blockstep lab exec`: two hosts and a bad link to play with, from any terminal.

Decided here: the command lines, and what is printed. `shell` stays until Ctrl-C or TERM, then prints what the lab says
about itself and exits with 0, or 1 if the lab did not keep its word. `exec` becomes the program that it is told to run,
so the program's exit status is its own; 127 if there is no such program.
"""

from __future__ import annotations

import os
import select
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from blockstep.exits import ExitCode
from blockstep_lab.conditions import Conditions
from blockstep_lab.link_params import LinkCommand, both_conditions, link_options
from blockstep_lab.stopping import stop_signals

if TYPE_CHECKING:
    from blockstep_lab.netns.lab import Lab

__all__ = ["execute", "shell"]

_NOT_FOUND = 127
_NOT_EXECUTABLE = 126


@click.command(
    cls=LinkCommand,
    epilog="Example: blockstep lab shell loss 1% delay 20ms; in another terminal: blockstep lab exec left ping right",
)
@link_options
@click.option("--seed", help="The same seed gives the same fates [default: random, printed].")
@click.option("--mend", "mend_checksums", is_flag=True, help="Let corruption reach the application.")
@click.option("--congestion", metavar="NAME", help="TCP's congestion control on the hosts. [default: the system's]")
@click.option("--mtu", type=click.IntRange(576, 65535), default=1500, show_default=True, help="Bytes in a packet.")
@click.option("--hosts-left", type=click.IntRange(1, 100), default=1, show_default=True, help="left, left2, ...")
@click.option("--hosts-right", type=click.IntRange(1, 100), default=1, show_default=True, help="right, right2, ...")
@click.option("--carrier", type=click.Choice(["tun", "veth"]), help="How packets travel. [default: tun if it may be]")
@click.option(
    "--pcap",
    "capture",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the UDP datagrams that enter the link to this file.",
)
@click.option("--json", "as_json", is_flag=True, help="Print what the lab says about itself as JSON.")
@click.pass_context
def shell(
    ctx: click.Context,
    /,
    *,
    words: Sequence[str],
    up: Conditions | None,
    down: Conditions | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Start two hosts and a bad link between them, and keep them until Ctrl-C.

    The link is described in the words of tc-netem(8), the same both ways unless --up (left to right) or --down say
    otherwise, or by a name (see --links). UDP and TCP meet the same link.
    """
    from blockstep_lab.netns.lab import Lab
    from blockstep_lab.netns.state import publish

    up, down = both_conditions(words, up, down)
    with stop_signals() as signals, Lab(up, down, **options) as lab:
        addresses = {name: host.address for name, host in lab.hosts.items()}
        with publish(lab.router_pid, addresses, lab.descriptors_in_router()):
            _print_start(lab)
            _wait(signals, lab.router_pid)
        checks = lab.checks()
    click.echo(checks.to_json() if as_json else checks.to_table())
    ctx.exit(ExitCode.OK if checks.ok else ExitCode.FAILED)


@click.command(
    "exec",
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
    epilog="Example: blockstep lab exec right -- blockstep serve /srv/tftp",
)
@click.option("--lab", "pid", type=click.IntRange(1), metavar="PID", help="Which lab, where several are running.")
@click.argument("name", metavar="HOST")
@click.argument("argv", nargs=-1, required=True, type=click.UNPROCESSED, metavar="CMD...")
def execute(pid: int | None, name: str, argv: Sequence[str]) -> NoReturn:
    """Run a program on a host of the running lab, with this terminal."""
    from blockstep_lab.netns.state import find_lab

    # Options end at the first word that is none, so click leaves a "--" behind it to us.
    argv = argv[1:] if argv[0] == "--" else argv
    if not argv:
        raise click.UsageError("which program? For example: blockstep lab exec left -- ping right")
    with find_lab(pid).opened(name) as namespaces:
        namespaces.enter()
    try:
        os.execvp(argv[0], list(argv))
    except OSError as error:
        click.echo(f"blockstep: {argv[0]}: {error.strerror}", err=True)
        raise SystemExit(_NOT_FOUND if isinstance(error, FileNotFoundError) else _NOT_EXECUTABLE) from error


def _print_start(lab: Lab) -> None:
    hosts = ", ".join(f"{name} {host.address}" for name, host in lab.hosts.items())
    up, down = lab.conditions
    other = "right" if lab.names_resolve else lab.right.address
    click.echo(
        f"lab {lab.router_pid}: {hosts}; seed {lab.seed}, carrier {lab.carrier}, router {lab.scheduler}", err=True
    )
    click.echo(f"left to right  {up.tc_line()}", err=True)
    click.echo(f"right to left  {down.tc_line()}", err=True)
    click.echo("Ctrl-C ends it. In another terminal:", err=True)
    click.echo("    blockstep lab exec right -- blockstep serve -p 6969 .", err=True)
    click.echo(f"    blockstep lab exec left -- blockstep get {other}:6969/FILE", err=True)


def _wait(signals: int, router: int) -> None:
    process = os.pidfd_open(router)
    try:
        select.select([signals, process], [], [])
    finally:
        os.close(process)
