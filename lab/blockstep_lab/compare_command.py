"""`blockstep compare`: the same file over UDP and TCP on the same bad link, and what the numbers say.

Decided here: the command line. The table goes to stdout, a bar to a terminal's stderr. Exit codes: 0, 1 if a transfer
failed or nothing could be measured, 2 for a wrong word and where no lab is possible, 130 after Ctrl-C, with everything
that was done in the JSON. Not known here: measuring.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from blockstep.exits import ExitCode
from blockstep.protocol.errors import LocalError
from blockstep_lab.link_params import parsed
from blockstep_server.params import SIZE

__all__ = ["compare"]

_Command = TypeVar("_Command", bound=Callable[..., Any])

_EXAMPLES = """
\b
Examples:
  blockstep compare --report report.html
  blockstep compare vmlinuz --loss 0,0.1,1,5 --delay 5ms,25ms --cc cubic,bbr,reno --json out.json
  blockstep compare --link lte --link satellite --max-time 60
  blockstep compare --host 192.0.2.7 vmlinuz
"""

_FILE = click.Path(dir_okay=False, path_type=Path)
_OPTIONS: Final = (
    click.argument("file", required=False, metavar="[FILE]"),
    click.option("--size", default="1M", type=SIZE, show_default=True, help="Bytes to move where no FILE is named."),
    click.option("--loss", default="0,1", show_default=True, metavar="LIST",
        help="Percent of packets, each way."),
    click.option("--delay", default="5ms", show_default=True, metavar="LIST", help="One way."),
    click.option("--rate", default="50mbit", show_default=True, metavar="RATE",
        help="The bottleneck's rate, or none."),
    click.option("--link", "links", multiple=True, type=parsed(str.strip), metavar="NAME|WORDS",
        help="A link by its name (see `blockstep link --links`) or in netem's words; repeatable. "
        "Instead of --loss and --delay, unless these are given too."),
    click.option("--transport", default="udp,tcp,unix,loopback", show_default=True, metavar="LIST",
        help="unix and loopback are ceilings, without a link."),
    click.option("--windowsize", default="1,16,64", show_default=True, metavar="LIST", help="Of UDP, in blocks."),
    click.option("--blksize", default="1428", show_default=True, metavar="LIST", help="Of UDP, in bytes."),
    click.option("--cc", metavar="LIST", help="TCP's congestion controls.  [default: cubic,bbr as far as there]"),
    click.option("-n", "--repeat", type=click.IntRange(1, 1000), default=5, show_default=True,
        help="Runs of each cell, taken in turns."),
    click.option("--seed", help="The same seed gives the same fates.  [default: random, printed]"),
    click.option("--max-time", "max_time_s", type=click.FloatRange(0.1, 86_400), default=20.0, show_default=True,
        metavar="SECONDS", help="Stop a run that takes longer."),
    click.option("--host", metavar="HOST[:PORT]",
        help="Over a real path, from a running `blockstep serve --tcp PORT`; FILE is its name there."),
    click.option("--tcp-port", type=click.IntRange(1, 65535), help="The server's TCP port.  [default: as for UDP]"),
    click.option("--simulate", is_flag=False, flag_value="slow", type=click.Choice(["slow", "all"]),
        help="Simulate UDP on virtual time: the cells that would take longer than --max-time (slow, the default), "
        "or all, which needs no namespaces and leaves TCP out."),
    click.option("-j", "--jobs", type=click.IntRange(1, 256), help="Processes for --simulate.  [default: processors]"),
    click.option("--json", "json_path", type=_FILE, help="Write the record here; `-` for stdout instead of the table."),
    click.option("--resume", is_flag=True, help="Go on with the record of --json; the rest must be as it was."),
    click.option("--from", "record_path", type=_FILE, metavar="FILE",
        help="Measure nothing: table, --report and --png of a record that --json wrote."),
    click.option("--report", type=_FILE, help="Write one HTML page with charts."),
    click.option("--png", type=click.Path(file_okay=False, path_type=Path), help="Write charts into this directory."),
)  # fmt: skip


def _options(command: _Command) -> _Command:
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


class _CannotBegin(click.ClickException):
    exit_code = ExitCode.USAGE


@click.command(epilog=_EXAMPLES)
@_options
@click.pass_context
def compare(ctx: click.Context, /, **words: Any) -> int:
    """Move the same file over UDP and over TCP and compare.

    Both meet the same link with the same fates, in network namespaces of this machine, with the kernel's own TCP. Each
    cell of the grid is run several times, in turns. What the link cannot vouch for is shown as void, never as a number.
    """
    from blockstep_lab.compare.session import Session, Wishes
    from blockstep_lab.netns.namespaces import LabUnavailable
    from blockstep_lab.words import WordsError

    _check(ctx, words)
    if words["record_path"] is not None:
        return _show(words["record_path"], words)
    _note_missing(words)
    words["seed"] = words["seed"] or str(secrets.randbelow(1 << 32))
    wishes = Wishes(words=words, command=_command_line(ctx, words), is_grid_wanted=_is_grid_wanted(ctx, words))
    try:
        session = Session(wishes)
    except WordsError as error:
        raise click.UsageError(str(error)) from error
    except LocalError as error:
        raise _CannotBegin(str(error)) from error
    try:
        interrupted = session.run()
    except LabUnavailable as error:
        raise _CannotBegin(f"{error}\n{_WITHOUT_NAMESPACES}") from error
    return _finish(session, words, interrupted)


_WITHOUT_NAMESPACES = """Without namespaces no link treats UDP and TCP alike, so nothing is compared. There is still:
  the UDP half on a bad link     blockstep link :6970 SERVER:69 loss 1% delay 5ms
  the UDP half on virtual time   blockstep compare --simulate all
  a real path                    blockstep compare --host SERVER FILE"""


def _show(path: Path, words: dict[str, Any]) -> int:
    """What there is to see of a record. Only runs are taken from it; all else is computed from them again."""
    from blockstep_lab.compare.campaign import computed
    from blockstep_lab.compare.results import CompareResult

    try:
        record = computed(CompareResult.read(path))
    except LocalError as error:
        raise _CannotBegin(str(error)) from error
    return _told(record, words)


def _check(ctx: click.Context, words: dict[str, Any]) -> None:
    if words["record_path"] is not None:
        _check_from(ctx, words)
    if words["resume"] and (words["json_path"] is None or str(words["json_path"]) == "-"):
        raise click.UsageError("--resume goes on with the record that --json FILE names")
    if words["resume"] and words["seed"] is None and words["json_path"].exists():
        words["seed"] = _seed_of(words["json_path"])
    if words["report"] is not None and not words["report"].absolute().parent.is_dir():
        raise click.UsageError(f"--report: there is no folder {words['report'].parent}")
    if words["host"] is not None:
        named = [option for name, option in _NOT_WITH_HOST.items() if _is_given(ctx, name)]
        if named:
            raise click.UsageError(f"{named[0]} is for links and files of ours; with --host both are what they are")
        if words["file"] is None:
            raise click.UsageError("--host needs FILE, the name of a file on the server")


def _check_from(ctx: click.Context, words: dict[str, Any]) -> None:
    """Settings may stand in a file for other runs; what is typed beside --from must mean something."""
    if words["json_path"] is not None and str(words["json_path"]) != "-":
        raise click.UsageError("--json FILE would only copy what --from reads; `-` writes it to stdout")
    for each in ctx.command.params:
        typed = ctx.get_parameter_source(each.name or "") is click.core.ParameterSource.COMMANDLINE
        if typed and each.name not in _WITH_FROM:
            name = each.opts[-1] if isinstance(each, click.Option) else "FILE"
            raise click.UsageError(f"--from shows what was measured; {name} has no meaning beside it")


_WITH_FROM = ("record_path", "report", "png", "json_path")
_NOT_WITH_HOST = {name: f"--{name}" for name in ("loss", "delay", "rate", "simulate", "cc", "size")} | {
    "links": "--link"
}


def _seed_of(path: Path) -> str:
    from blockstep_lab.compare.results import CompareResult

    return CompareResult.read(path).method.seed


def _is_given(ctx: click.Context, name: str) -> bool:
    return ctx.get_parameter_source(name) is not click.core.ParameterSource.DEFAULT


def _is_grid_wanted(ctx: click.Context, words: dict[str, Any]) -> bool:
    """Named links stand for themselves unless the grid is asked for too."""
    return not words["links"] or _is_given(ctx, "loss") or _is_given(ctx, "delay")


_NOT_REPEATED = ("seed", "resume", "json_path", "report", "png", "jobs", "file")


def _command_line(ctx: click.Context, words: dict[str, Any]) -> tuple[str, ...]:
    """The command that repeats it: what was given, and the seed."""
    line = ["blockstep", "compare"]
    for option in ctx.command.params:
        name = option.name or ""
        if name in _NOT_REPEATED or not _is_given(ctx, name):
            continue
        values = words[name] if isinstance(words[name], tuple) else (words[name],)
        line += [part for value in values for part in (option.opts[-1], str(value))]
    line += ["--seed", words["seed"]]
    return tuple([*line, words["file"]] if words["file"] else line)


def _finish(session: Any, words: dict[str, Any], interrupted: BaseException | None) -> int:
    record = session.record()
    code = _told(record, words)
    if interrupted is not None:
        path = words["json_path"]
        hint = f"; go on with --resume --json {path}" if path is not None and str(path) != "-" else ""
        click.echo(f"blockstep: stopped after {len(record.runs)} of {record.planned_runs} runs{hint}", err=True)
        raise interrupted
    return code


def _told(record: Any, words: dict[str, Any]) -> int:
    """To stdout and into the files that were asked for; the exit code."""
    from blockstep_lab.compare.results import FAILED
    from blockstep_lab.compare.table import to_table

    click.echo(record.to_json() if str(words["json_path"]) == "-" else to_table(record))
    _write_pictures(record, words)
    numbers = any(cell.goodput_bit_s is not None for cell in record.cells)
    failed = any(run.state == FAILED for run in record.runs)
    return ExitCode.OK if numbers and not failed else ExitCode.FAILED


def _write_pictures(record: Any, words: dict[str, Any]) -> None:
    if words["report"] is not None:
        html_report = _extra("html_report", "report", "--report")
        html_report.write(record, words["report"])
        click.echo(f"report: {words['report']}", err=True)
    if words["png"] is not None:
        for path in _extra("plots", "plots", "--png").write_all(record, words["png"]):
            click.echo(f"chart: {path}", err=True)


_DRAWS_WITH = {"report": ("plotly", "report"), "png": ("matplotlib", "plots")}


def _note_missing(words: dict[str, Any]) -> None:
    """Said before minutes go into it; the table and the JSON come all the same."""
    from importlib.util import find_spec

    for option, (library, extra) in _DRAWS_WITH.items():
        if words[option] is not None and find_spec(library) is None:
            click.echo(f"blockstep: there will be no --{option} without: pip install 'blockstep[{extra}]'", err=True)


def _extra(module: str, extra: str, option: str) -> Any:
    """A module that needs libraries beyond ours."""
    import importlib

    try:
        return importlib.import_module(f"blockstep_lab.compare.{module}")
    except ImportError as error:
        raise _CannotBegin(f"{option} needs more libraries ({error.name}): pip install 'blockstep[{extra}]'") from error
