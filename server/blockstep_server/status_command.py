"""`blockstep status`: what a server's control socket says, as a table for people or as the JSON it came in.

Every look is a connection of its own, so that a server never has to keep one for somebody who only watches now and
then. Names in the table come from clients of the server and are escaped before they are printed.
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from blockstep.exits import ExitCode
from blockstep.protocol.wire import printable_untrusted

__all__ = ["ask", "status", "table"]

_PATIENCE_S = 10.0
_ANSWER_BYTES = 16 << 20


class _CannotAsk(click.ClickException):
    """Nobody answers at that path."""

    exit_code = ExitCode.REFUSED


@click.command()
@click.argument("path", type=click.Path(path_type=Path))
@click.option(
    "--watch", is_flag=False, flag_value="2", default=None, metavar="SECONDS", type=click.FloatRange(0.1, 3600),
    help="Look again every so many seconds, 2 where no number follows.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="The server's own JSON, a line for each look.")
def status(path: Path, watch: float | None, as_json: bool) -> None:
    """Show what a running server does.

    PATH is the socket that the server was told as --control. Who may write to it may ask.
    """
    while True:
        line = ask(path, "status")
        text = line if as_json else table(_parsed(line, path))
        if watch is not None and not as_json:
            click.clear()  # does nothing unless standard output is a terminal
            text += "\n"
        click.echo(text)
        if watch is None:
            return
        time.sleep(watch)


def ask(path: Path, word: str) -> str:
    """The line with which the server at `path` answers `word`, without its end. click.ClickException if none comes."""
    answer = bytearray()
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.settimeout(_PATIENCE_S)
            sock.connect(str(path))
            sock.sendall(word.encode() + b"\n")
            sock.shutdown(socket.SHUT_WR)
            while len(answer) < _ANSWER_BYTES and (piece := sock.recv(1 << 16)):
                answer += piece
    except TimeoutError:
        raise _CannotAsk(f"{path}: no answer within {_PATIENCE_S:g} s") from None
    except OSError as error:
        raise _CannotAsk(f"{path}: {_why(error)}") from None
    if not answer.endswith(b"\n"):
        raise _CannotAsk(f"{path}: the server hung up before it had answered")
    return answer[:-1].decode("ascii", "backslashreplace")


def _why(error: OSError) -> str:
    if isinstance(error, FileNotFoundError | ConnectionRefusedError):
        return "no server listens there; start one with blockstep serve --control PATH"
    if isinstance(error, PermissionError):
        return "permission denied; ask as the user who started the server"
    return (error.strerror or str(error)).lower()


def _parsed(line: str, path: Path) -> Mapping[str, Any]:
    try:
        answer = json.loads(line)
    except (ValueError, RecursionError):
        answer = None
    if not isinstance(answer, dict) or not answer.get("ok"):
        raise _CannotAsk(f"{path}: this is no control socket of a blockstep server")
    return answer


# The table


def table(answer: Mapping[str, Any]) -> str:
    """The answer for people: what runs, what is under way, what has been."""
    transfers, totals = answer.get("transfers", []), answer.get("totals", {})
    limits = answer.get("limits", {})
    who = f"blockstep {answer.get('version')}, pid {answer.get('pid')}"
    root = printable_untrusted(str(answer.get("root")), 4096)
    lines = [
        f"{who}: {answer.get('phase')} {root} for {_duration(answer.get('uptime_s', 0))}",
        f"on {', '.join(map(str, answer.get('listening', [])))}",
        f"{len(transfers)} under way, {answer.get('places')} of {limits.get('max-sessions')} places taken",
    ]
    if transfers:
        lines += ["", *_columns(_UNDER_WAY, [_transfer_row(each) for each in transfers])]
    if totals.get("rows"):
        lines += ["", *_columns(_TOTALS, [_total_row(each) for each in totals["rows"]])]
    if totals.get("refused"):
        lines += ["", "not served: " + ", ".join(f"{count} {why}" for why, count in totals["refused"].items())]
    return "\n".join(lines)


_UNDER_WAY = ("peer", "transport", "op", "<bytes", "<rate", "<time", "<resends", "file")
_TOTALS = ("transport", "op", "result", "<requests", "<bytes", "<resends")


def _transfer_row(transfer: Mapping[str, Any]) -> list[str]:
    return [
        printable_untrusted(str(transfer.get("peer")), 64),
        str(transfer.get("transport")),
        printable_untrusted(str(transfer.get("op")), 8),
        _amount(transfer.get("bytes", 0)),
        _amount(transfer.get("bytes_per_s", 0)) + "/s",
        _duration(transfer.get("seconds", 0)),
        str(transfer.get("resends")),
        printable_untrusted(str(transfer.get("file"))),
    ]


def _total_row(row: Mapping[str, Any]) -> list[str]:
    words = (str(row.get(name) or "-") for name in ("transport", "op", "result"))
    return [*words, str(row.get("count")), _amount(row.get("bytes", 0)), str(row.get("resends"))]


def _columns(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of equal columns; `<` before a title: its column is pushed to the right."""
    heads = [title.removeprefix("<").upper() for title in titles]
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    lines = []
    for row in (heads, *rows):
        cells = [
            cell.rjust(width) if title.startswith("<") else cell.ljust(width)
            for title, cell, width in zip(titles, row, widths, strict=True)
        ]
        lines.append("  ".join(cells).rstrip())
    return lines


def _amount(count: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}"
