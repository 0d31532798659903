"""`blockstep lab run`: scenarios with a verdict.

Decided here: the command line and what is printed: results on stdout, what is going on on stderr. Exit codes: 0 if
every scenario passed, 1 if one did not, 2 for a file with a mistake or a system where no lab is possible.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from blockstep.exits import ExitCode
from blockstep.protocol.wire import printable_untrusted
from blockstep_lab.scenario import Scenario, find_scenario, parse_scenario, shipped_scenarios
from blockstep_lab.words import WordsError

if TYPE_CHECKING:
    from blockstep_lab.scenario_run import ClientResult, ScenarioResult

__all__ = ["run"]

# Copies of one client that are told one by one; more are summed up.
_TOLD_EACH = 3


class _CannotBegin(click.ClickException):
    exit_code = ExitCode.USAGE


def _print_list(ctx: click.Context, _param: click.Parameter, wanted: bool) -> None:
    if not wanted or ctx.resilient_parsing:
        return
    for path in shipped_scenarios():
        click.echo(f"{path.stem:24} {_read(path).about}")
    ctx.exit()


@click.command(epilog="Example: blockstep lab run lost-oack boot-storm my-scenario.toml")
@click.argument("names", nargs=-1, required=True, metavar="SCENARIO[.toml]...")
@click.option("--seed", help="Another seed than that of the scenario.")
@click.option(
    "--pcap",
    "capture",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Keep what entered the link (pcapng). One scenario only.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object for each scenario.")
@click.option(
    "--list",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_list,
    help="List the scenarios that come with the lab, and exit.",
)
@click.pass_context
def run(ctx: click.Context, names: Sequence[str], seed: str | None, capture: Path | None, as_json: bool) -> None:
    """Run scenarios: a server, clients, a bad link between them, and what must come out.

    SCENARIO is a file or the name of one that comes with the lab (see --list).
    """
    from blockstep_lab.netns.namespaces import LabUnavailable
    from blockstep_lab.scenario_run import run_scenario

    if capture is not None and len(names) > 1:
        raise click.UsageError("--pcap keeps one capture; run one scenario with it")
    scenarios = [_chosen(name, seed) for name in names]
    all_passed = True
    for scenario in scenarios:
        click.echo(f"{scenario.name}: {scenario.about}", err=True)
        try:
            result = run_scenario(scenario, capture=capture)
        except LabUnavailable as error:
            raise _CannotBegin(str(error)) from error
        all_passed = all_passed and result.passed
        click.echo(_to_json(result) if as_json else "\n".join(_lines(result)))
    ctx.exit(ExitCode.OK if all_passed else ExitCode.FAILED)


def _chosen(name: str, seed: str | None) -> Scenario:
    try:
        scenario = _read(find_scenario(name))
    except WordsError as error:
        raise _CannotBegin(str(error)) from error
    return scenario if seed is None else replace(scenario, seed=seed)


def _read(path: Path) -> Scenario:
    try:
        return parse_scenario(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise WordsError(f"{path}: {error}") from error


def _lines(result: ScenarioResult) -> Iterator[str]:
    scenario = result.scenario
    told = 0
    for client in result.clients:
        told = told + 1 if client.copy else 0
        if client.problems or told < _TOLD_EACH:
            yield _client_line(client, scenario)
        elif told == _TOLD_EACH:
            yield f"  ...     and {client.plan.copies - _TOLD_EACH} more of it; those that failed are told"
    yield from (f"  note    {text}" for text in result.violations)
    yield from (f"  FAILED  {text}" for text in result.problems)
    if not result.passed:
        yield from (f"  server  {printable_untrusted(line)}" for line in result.server_said)
    yield from (f"  {line}" for line in result.checks.to_table().splitlines())
    yield f"{'passed' if result.passed else 'FAILED'}  {scenario.name}"


def _client_line(client: ClientResult, scenario: Scenario) -> str:
    what = f"{client.plan.op} {client.plan.file}"
    if client.problems:
        return f"  FAILED  {what}: {'; '.join(client.problems)}"
    seen = client.seen
    if seen is None:
        return f"  ok      {what}"
    trips = f", {seen.duration_s / scenario.round_trip_s:.1f} round trips" if scenario.round_trip_s else ""
    return f"  ok      {what}: exit {client.exit}, {seen.blocks} blocks, {seen.resends} sent again{trips}"


def _to_json(result: ScenarioResult) -> str:
    clients = [
        {
            "op": client.plan.op,
            "file": client.plan.file,
            "exit": client.exit,
            "problems": client.problems,
            "seen": client.seen and asdict(client.seen),
        }
        for client in result.clients
    ]
    record = {"scenario": result.scenario.name, "seed": result.scenario.seed, "passed": result.passed}
    judged = {"clients": clients, "problems": result.problems, "violations": result.violations}
    return json.dumps({**record, **judged, "checks": json.loads(result.checks.to_json())})
