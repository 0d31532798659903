"""`blockstep bench`: load on a server, in iperf3's manner.

Decided here: the command line. Lines go to stdout as the intervals end, with -J one JSON object at the end. Exit code 1
if no transfer succeeded or one failed. Not known here: fetching and counting.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from blockstep.exits import ExitCode
from blockstep.protocol.options import BLKSIZE_LARGEST, BLKSIZE_SMALLEST, WINDOWSIZE_LARGEST
from blockstep.protocol.stream import BLKSIZE_STREAM
from blockstep_client.address import Target, Transport
from blockstep_client.params import TargetType

__all__ = ["bench"]

_Command = TypeVar("_Command", bound=Callable[..., Any])

_BLKSIZE_UDP = 1428
_EXAMPLES = """
\b
Examples:
  blockstep bench tftp://192.0.2.7/kernel -P 50 -t 10
  blockstep bench tftp+tcp://127.0.0.1:6969/kernel -P 4 -J
"""
_OPTIONS: Final = (
    click.argument("url", type=TargetType()),
    click.option("-P", "--parallel", "sessions", type=click.IntRange(1, 10_000), default=1, show_default=True,
        help="Sessions at the same time, each a process."),
    click.option("-t", "--time", "duration_s", type=click.FloatRange(0.1, 86_400), default=10.0, show_default=True,
        metavar="SECONDS", help="How long."),
    click.option("-i", "--interval", "interval_s", type=click.FloatRange(0, 86_400), default=1.0, show_default=True,
        metavar="SECONDS", help="Between two lines; 0: none but the last."),
    click.option("-b", "--blksize", type=click.IntRange(BLKSIZE_SMALLEST, BLKSIZE_LARGEST),
        help=f"Bytes in a block.  [default: {_BLKSIZE_UDP}, on a stream {BLKSIZE_STREAM}]"),
    click.option("-w", "--windowsize", type=click.IntRange(1, WINDOWSIZE_LARGEST), default=1, show_default=True,
        help="Blocks that one acknowledgement covers."),
    click.option("--max-time", "max_time_s", type=click.FloatRange(0.1, 86_400), default=60.0, show_default=True,
        metavar="SECONDS", help="A transfer that takes longer has failed."),
    click.option("-J", "--json", "as_json", is_flag=True, help="Print one JSON object at the end."),
)  # fmt: skip


def _options(command: _Command) -> _Command:
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


class _CannotResolve(click.ClickException):
    exit_code = ExitCode.CANNOT_RESOLVE


@click.command(epilog=_EXAMPLES)
@_options
def bench(url: Target, *, as_json: bool, **options: Any) -> int:
    """Load a server: fetch URL again and again.

    Several clients at once, and what the server gave them.

    URL is as for `blockstep get`: tftp://, tftp+tcp:// or tftp+unix://. Nothing is stored.
    """
    from blockstep_lab.compare.load import Interval, put_load
    from blockstep_lab.compare.load_report import HEADINGS, interval_line, summary_lines, to_json

    load = _load(url, options)

    def tell(interval: Interval) -> None:
        if not as_json and options["interval_s"]:
            click.echo(interval_line(interval))

    if not as_json:
        click.echo(f"{options['sessions']} sessions fetch {url}")
        click.echo(HEADINGS)
    result = put_load(load, tell)
    click.echo(to_json(result) if as_json else "\n".join(summary_lines(result)))
    total = result.total
    return ExitCode.OK if total.ok and not total.failed else ExitCode.FAILED


def _load(url: Target, options: dict[str, Any]) -> Any:
    from blockstep_lab.compare.load import Load
    from blockstep_lab.compare.transfer import Transfer

    if url.is_directory:
        raise click.UsageError(f"{url}: names no file")
    is_udp = url.transport is Transport.UDP
    transfer = Transfer(
        transport=url.transport.value,
        blksize=options["blksize"] or (_BLKSIZE_UDP if is_udp else BLKSIZE_STREAM),
        windowsize=options["windowsize"],
        name=url.path,
        max_time_s=options["max_time_s"],
    )
    timing = {name: options[name] for name in ("sessions", "duration_s", "interval_s")}
    return Load(transfer=transfer, where=_resolved(url), **timing)


def _resolved(url: Target) -> Any:
    """Where the server is: a path, or the first address."""
    if url.transport is Transport.UNIX:
        return Path(url.host)
    try:
        found = socket.getaddrinfo(url.host, url.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise _CannotResolve(f"{url.host}: {getattr(error, 'strerror', None) or error}") from error
    return found[0][4]
