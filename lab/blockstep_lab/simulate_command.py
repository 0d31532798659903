"""`blockstep lab simulate`: many transfers on virtual time, and what came of them.

Decided here: the command line. The table (or JSON) goes to stdout, a bar to a terminal's stderr, and the exit code is 1
if any transfer failed. Not known here: simulating.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any, Final, TypeVar

import click

from blockstep.exits import ExitCode
from blockstep.protocol.options import BLKSIZE_LARGEST, BLKSIZE_SMALLEST, WINDOWSIZE_LARGEST, Wanted
from blockstep.protocol.wire import Opcode
from blockstep_lab.conditions import Conditions
from blockstep_lab.link_params import LinkCommand, both_conditions, link_options
from blockstep_lab.parties import Plan
from blockstep_lab.simulation import GENEROUS, Run, Scenario, content_of, run_all
from blockstep_lab.simulation_report import SimulationReport
from blockstep_server.params import SIZE

__all__ = ["simulate"]

_Command = TypeVar("_Command", bound=Callable[..., Any])

# A file is held in memory, once for each side and process.
_LARGEST_BYTES = 1 << 30
_MOST_RUNS = 1_000_000
_EXAMPLES = """
\b
Examples:
  blockstep lab simulate -n 1000 loss 5% delay 20ms 5ms
  blockstep lab simulate far-site --size 80MB --blksize 512
"""


def _check_size(_ctx: click.Context, _param: click.Parameter, value: int) -> int:
    if value > _LARGEST_BYTES:
        raise click.BadParameter("1 GiB at most: the file is held in memory.")
    return value


_OPTIONS: Final = (
    click.option("--op", type=click.Choice(["get", "put"]), default="get", show_default=True, help="Which way."),
    click.option("--size", default="1M", type=SIZE, callback=_check_size, show_default=True, help="The file's."),
    click.option("-b", "--blksize", type=click.IntRange(BLKSIZE_SMALLEST, BLKSIZE_LARGEST), default=1428,
        show_default=True, help="Bytes in a block."),
    click.option("-w", "--windowsize", type=click.IntRange(1, WINDOWSIZE_LARGEST), default=1, show_default=True,
        help="Blocks that one acknowledgement covers."),
    click.option("-t", "--timeout", "timeout_s", type=click.FloatRange(0.01, 255), metavar="SECONDS",
        help="The longest wait before a resend, as both sides agree on it.  [default: learned, 4 at most]"),
    click.option("--single-port", is_flag=True, help="The server answers from the port that was asked."),
    click.option("-n", "--count", type=click.IntRange(1, _MOST_RUNS), default=1, show_default=True,
        help="How many transfers, each with a seed of its own."),
    click.option("--seed", type=click.IntRange(0),
        help="The first seed; the others follow it.  [default: random, printed]"),
    click.option("--json", "as_json", is_flag=True, help="Print JSON, with every run in it."),
)  # fmt: skip


def _options(command: _Command) -> _Command:
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@click.command(cls=LinkCommand, epilog=_EXAMPLES)
@link_options
@_options
def simulate(words: Sequence[str], up: Conditions | None, down: Conditions | None, **options: Any) -> None:
    """Run transfers over a bad link on virtual time.

    Client and server are the same code as in `blockstep get` and `serve`; only sockets, disks and waiting are left out.
    The link is described as for `blockstep link`. Exits with 1 if a transfer failed.
    """
    conditions_up, conditions_down = both_conditions(words, up, down)
    scenario = Scenario(plan=_plan(options), up=conditions_up, down=conditions_down, rules=options["rules"])
    seed = secrets.randbelow(1 << 32) if options["seed"] is None else options["seed"]
    begun_at = time.perf_counter()
    runs = sorted(_shown(run_all(scenario, seed, options["count"]), options["count"]), key=lambda run: run.seed)
    report = SimulationReport(scenario, runs, time.perf_counter() - begun_at)
    click.echo(report.to_json() if options["as_json"] else report.to_table())
    click.get_current_context().exit(ExitCode.FAILED if report.failures else ExitCode.OK)


def _plan(options: dict[str, Any]) -> Plan:
    content = content_of(options["size"])
    wanted = Wanted(blksize=options["blksize"], windowsize=options["windowsize"], timeout_s=options["timeout_s"])
    plan = Plan(content=content, wanted=wanted, limits=GENEROUS, single_port=options["single_port"])
    if options["op"] == "get":
        return replace(plan, wanted=replace(wanted, tsize=0))
    return replace(plan, opcode=Opcode.WRQ, wanted=replace(wanted, tsize=len(content)))


def _shown(runs: Iterable[Run], count: int) -> Iterable[Run]:
    """The runs, with a bar while they are made if somebody looks and there are several."""
    if count == 1:
        return runs
    from tqdm import tqdm

    return tqdm(runs, total=count, unit=" transfers", leave=False, disable=None, delay=1)
