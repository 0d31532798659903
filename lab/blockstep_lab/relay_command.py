"""`blockstep link`: a bad link between anybody's TFTP client and anybody's server.

Decided here: the command line, what is printed when, and that Ctrl-C and TERM are the ordinary ways to end it, so they
print the table and exit with 0. Start lines go to stderr, the table to stdout. Not known here: relaying.
"""

from __future__ import annotations

import os
import select
import socket
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import click

from blockstep.capturing import PCAP, cannot_write
from blockstep.exits import ExitCode
from blockstep.transport.pcapng_writer import CannotCapture
from blockstep_lab.conditions import Conditions
from blockstep_lab.endpoints import Endpoint, format_address, parse_endpoint
from blockstep_lab.link_params import LinkCommand, both_conditions, link_options, parsed
from blockstep_lab.relay import Relay
from blockstep_lab.stopping import stop_signals

if TYPE_CHECKING:
    from blockstep_lab.relay_api import ApiServer

__all__ = ["link"]

_TFTP_PORT = 69


class _CannotResolve(click.ClickException):
    exit_code: ClassVar[int] = ExitCode.CANNOT_RESOLVE


class _CannotBind(click.ClickException):
    exit_code: ClassVar[int] = ExitCode.CANNOT_BIND


@click.command(
    cls=LinkCommand,
    epilog="Example: blockstep link :6970 127.0.0.1:69 loss 5% delay 20ms 5ms --rule 'drop DATA 3 once'",
)
@click.argument("listen", type=parsed(parse_endpoint))
@click.argument("upstream", type=parsed(partial(parse_endpoint, default_port=_TFTP_PORT)))
@link_options
@click.option("--seed", help="The same seed gives the same fates [default: random, printed].")
@click.option(
    "--idle",
    "idle_s",
    type=click.FloatRange(1, 86_400),
    default=120.0,
    show_default=True,
    metavar="SECONDS",
    help="Forget a client or server port after this long without a packet.",
)
@click.option(
    "--api",
    metavar="ADDRESS",
    type=parsed(parse_endpoint),
    help="Change the link while it runs: Toxiproxy's HTTP API on this HOST:PORT.",
)
@PCAP
@click.option("--json", "as_json", is_flag=True, help="Print the table as JSON.")
def link(
    *,
    listen: Endpoint,
    upstream: Endpoint,
    words: Sequence[str],
    up: Conditions | None,
    down: Conditions | None,
    **options: Any,
) -> None:
    """Pass datagrams from LISTEN to UPSTREAM and back over a bad link.

    LISTEN and UPSTREAM are HOST:PORT; without a host it is this machine, and UPSTREAM's port is 69 unless given. The
    link is described in the words of tc-netem(8), the same both ways unless --up or --down say otherwise, or by a name
    (see --links). Clients see one port of the link for each port of the server, and the other way round.
    """
    as_json, api = options.pop("as_json"), options.pop("api")
    options["conditions_up"], options["conditions_down"] = both_conditions(words, up, down)
    with stop_signals() as signals, _start(listen, upstream, options) as relay, ExitStack() as stack:
        server = None
        if api is not None:
            server = stack.enter_context(_start_api(api, relay))
        _print_start(relay)
        _wait(signals, relay.pid, server)
        report = relay.stop()
    click.echo(report.to_json() if as_json else report.to_table())


def _start(listen: Endpoint, upstream: Endpoint, options: dict[str, Any]) -> Relay:
    try:
        return Relay((upstream.host, upstream.port), listen=(listen.host, listen.port), **options)
    except CannotCapture as error:
        raise cannot_write(error) from error
    except socket.gaierror as error:
        raise _CannotResolve(f"{listen} or {upstream}: {error.strerror}") from error
    except OSError as error:
        hint = "; choose a port from 1024 on, or 0 for any" if isinstance(error, PermissionError) else ""
        raise _CannotBind(f"cannot listen on {listen}: {error.strerror}{hint}") from error


def _start_api(endpoint: Endpoint, relay: Relay) -> ApiServer:
    # Imported only when wanted: an HTTP server is a third of the time that this command takes to start.
    from blockstep_lab.relay_api import PROXY_NAME, ApiServer, RelayApi

    try:
        server = ApiServer(endpoint, RelayApi(relay))
    except OSError as error:
        raise _CannotBind(f"cannot listen on {endpoint} for --api: {error.strerror}") from error
    click.echo(f"api   http://{format_address(server.address)}/proxies/{PROXY_NAME}", err=True)
    return server


def _print_start(relay: Relay) -> None:
    setup = relay.setup
    click.echo(
        f"link  {format_address(relay.address)} -> {format_address(setup.upstream)}, seed {setup.seed}", err=True
    )
    click.echo(f"up    {setup.conditions_up.tc_line()}", err=True)
    click.echo(f"down  {setup.conditions_down.tc_line()}", err=True)


def _wait(signals: int, pid: int, server: ApiServer | None) -> None:
    """Until a signal comes or the relay's process ends; meanwhile the API is answered."""
    process = os.pidfd_open(pid)
    apis = [server.fileno()] if server is not None else []
    try:
        while not {signals, process} & set(select.select([signals, process, *apis], [], [])[0]):
            if server is not None:
                server.handle_request()
    finally:
        os.close(process)
