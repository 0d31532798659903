"""`blockstep trace FILE`: what happened in a capture of TFTP.

Rules of this file: it parses arguments and prints. Results go to stdout, warnings about the capture to stderr. Exit
codes: 0, 1 if `--check` found a violation, 2 for bad usage, 23 and 26 if a file could not be written or read.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import click

from blockstep.exits import ExitCode
from blockstep.protocol.errors import LocalError
from blockstep_lab.trace.capture import Capture, read_capture
from blockstep_lab.trace.extract import Extractor
from blockstep_lab.trace.frames import CaptureError
from blockstep_lab.trace.ladder import draw
from blockstep_lab.trace.outcome import Outcome, outcome_of
from blockstep_lab.trace.records import transfer_record
from blockstep_lab.trace.rules import Violation, check
from blockstep_lab.trace.stalls import AT_LEAST_S, Stall, find_stalls
from blockstep_lab.trace.summary import capture_lines, size_text, transfer_lines, violation_lines
from blockstep_lab.trace.transfer import Transfer

__all__ = ["trace"]


class _CannotRead(click.ClickException):
    exit_code = ExitCode.LOCAL_READ


class _CannotWrite(click.ClickException):
    exit_code = ExitCode.LOCAL_WRITE


@dataclass(frozen=True, slots=True)
class _Wishes:
    check: bool
    ladder: bool
    as_json: bool
    stall_s: float


@dataclass(frozen=True, slots=True)
class _Findings:
    transfer: Transfer
    outcome: Outcome
    stalls: list[Stall]
    violations: list[Violation]


@click.command()
@click.argument("file", type=click.File("rb"))
@click.option("--check", "wants_check", is_flag=True, help="Name violations of the RFCs; exit 1 if there is one.")
@click.option("--ladder", is_flag=True, help="Draw the message sequence; long runs are folded.")
@click.option(
    "--json", "as_json", is_flag=True, help="One JSON object for each transfer, with Wireshark's field names."
)
@click.option(
    "--extract", metavar="DIR", type=click.Path(file_okay=False, path_type=Path), help="Rebuild the files into DIR."
)
@click.option("--decode-netascii", is_flag=True, help="With --extract: turn netascii back into the sender's text.")
@click.option("--transfer", "only", type=click.IntRange(1), metavar="N", help="Only transfer number N.")
@click.option(
    "--stall",
    "stall_s",
    type=click.FloatRange(0, min_open=True),
    default=AT_LEAST_S,
    show_default=True,
    metavar="SECONDS",
    help="The shortest silence that is called a stall.",
)
@click.pass_context
def trace(
    ctx: click.Context,
    *,
    file: BinaryIO,
    wants_check: bool,
    ladder: bool,
    as_json: bool,
    extract: Path | None,
    decode_netascii: bool,
    only: int | None,
    stall_s: float,
) -> None:
    """Explain the TFTP transfers in a capture.

    FILE is pcap or pcapng, - for standard input.

    For each transfer: who asked whom for what, the options, what was sent again and why, where it stood still and why,
    and how it ended. Every TFTP transfer whose request is in the capture is found, on whatever port.
    """
    if decode_netascii and extract is None:
        raise click.UsageError("--decode-netascii says how to --extract; give both")
    wishes = _Wishes(wants_check, ladder, as_json, stall_s)
    with ExitStack() as stack:
        extractor = None
        if extract is not None:
            extractor = stack.enter_context(_extractor(extract, decode_netascii=decode_netascii))
        capture = _read(file, extractor)
        findings = [_findings(transfer, wishes) for transfer in _chosen(capture, only)]
        for found in findings:
            for line in _lines(found, wishes):
                click.echo(line)
            if extractor is not None:
                _extract(extractor, found.transfer, quiet=as_json)
    if wants_check and any(found.violations for found in findings):
        ctx.exit(ExitCode.FAILED)


def _read(file: BinaryIO, extractor: Extractor | None) -> Capture:
    try:
        capture = read_capture(file, extractor.spool if extractor else None)
    except (CaptureError, OSError) as error:
        raise _CannotRead(f"{file.name}: {error}") from error
    except LocalError as error:
        raise _CannotWrite(str(error)) from error
    for line in capture_lines(capture):
        click.echo(line, err=True)
    if not capture.transfers:
        click.echo(f"no TFTP request in {capture.frames} frames", err=True)
    return capture


def _chosen(capture: Capture, only: int | None) -> list[Transfer]:
    if only is None:
        return capture.transfers
    if only > len(capture.transfers):
        raise click.BadParameter(f"there are {len(capture.transfers)} transfers", param_hint="--transfer")
    return [capture.transfers[only - 1]]


def _findings(transfer: Transfer, wishes: _Wishes) -> _Findings:
    violations = check(transfer) if wishes.check or wishes.as_json else []
    return _Findings(transfer, outcome_of(transfer), find_stalls(transfer, wishes.stall_s), violations)


def _lines(found: _Findings, wishes: _Wishes) -> Iterator[str]:
    if wishes.as_json:
        yield json.dumps(transfer_record(found.transfer, found.outcome, found.stalls, found.violations))
        return
    yield from transfer_lines(found.transfer, found.outcome, found.stalls)
    yield from violation_lines(found.violations)
    if wishes.ladder:
        yield from draw(found.transfer, found.stalls, [violation.frame for violation in found.violations])


def _extractor(directory: Path, *, decode_netascii: bool) -> Extractor:
    try:
        return Extractor(directory, decode_netascii=decode_netascii)
    except LocalError as error:
        raise _CannotWrite(str(error)) from error


def _extract(extractor: Extractor, transfer: Transfer, *, quiet: bool) -> None:
    try:
        written = extractor.maybe_write(transfer)
    except LocalError as error:
        raise _CannotWrite(str(error)) from error
    if written is not None and not quiet:
        click.echo(f"    written: {written.name}, {size_text(written.octets)}")
