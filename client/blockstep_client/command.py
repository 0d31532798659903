"""`blockstep get` and `blockstep put`: what may stand on the command line, and the exit code.

A command runs its transfers one after another, those through one server's stream over one connection. One that fails
does not keep the others from being tried; the exit code is that of the first failure (blockstep.exits). A signal ends
them all. Which file goes where is decided in `jobs`, how it gets there in `session`, what is printed in `display`.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from blockstep.capturing import PCAP, captured
from blockstep.exits import ExitCode
from blockstep.protocol.options import BLKSIZE_LARGEST
from blockstep.protocol.stream import BLKSIZE_STREAM
from blockstep_client.address import MODES, Target, Transport
from blockstep_client.display import Display, Verbosity
from blockstep_client.errors import Stopped
from blockstep_client.jobs import Job, plan_get, plan_put
from blockstep_client.local import remove_leftovers
from blockstep_client.params import BlksizeType, NumberType, SecondsType, TargetType
from blockstep_client.session import transfer
from blockstep_client.settings import BLKSIZE_DEFAULT, RETRIES_DEFAULT, WINDOWSIZE_DEFAULT, Settings
from blockstep_client.signals import stoppable
from blockstep_client.transports import exchanges

__all__ = ["get", "put"]

_Command = TypeVar("_Command", bound=Callable[..., Any])

_ADDRESSES: Final = """
\b
A remote file is one of
  HOST:PATH                     192.0.2.1:pxelinux.0
  HOST:PORT/PATH                127.0.0.1:6969/pxelinux.0
  tftp://HOST[:PORT]/PATH       tftp://[2001:db8::1]/a%20b;mode=netascii
  tftp+tcp://, tftp+tls://      the same over TCP, over TLS
  tftp+unix:///SOCKET:PATH      tftp+unix:///run/blockstep.sock:pxelinux.0
Digits and a slash after the first colon are a port. An IPv6 address stands in brackets.
"""


def _transfer_options(command: _Command) -> _Command:
    """The flags that `get` and `put` share."""
    for option in reversed(_SHARED):
        command = option(command)
    return command


_PEM: Final = click.Path(dir_okay=False, path_type=Path)
_SHARED: Final = (
    click.option(
        "-b", "--blksize", type=BlksizeType(), metavar="N|auto",
        help="Bytes in a block, 8 to 65464, on a stream to 1048576; auto: the most that the path's MTU takes.  "
        f"[default: {BLKSIZE_DEFAULT}, on a stream {BLKSIZE_STREAM}]",
    ),
    click.option(
        "-w", "--windowsize", type=NumberType(1, 65535), metavar="N",
        help="Blocks that one acknowledgement covers; a stream has none.  "
        f"[default: {WINDOWSIZE_DEFAULT}, 1 to get netascii]",
    ),
    click.option(
        "-t", "--timeout", type=SecondsType(0.01, 255), metavar="SECONDS",
        help="The longest wait before a resend, here and on the server.  [default: learned, 4 at most]",
    ),
    click.option(
        "-r", "--retries", type=NumberType(0, 1000), default=RETRIES_DEFAULT, show_default=True, metavar="N",
        help="Give up after N further timeouts without an answer.",
    ),
    click.option(
        "--max-time", type=SecondsType(0.01, 31_536_000), metavar="SECONDS", help="Give up a file that takes longer."
    ),
    click.option(
        "--mode", type=click.Choice(MODES, case_sensitive=False),
        help="How the file travels, where its address does not say.  [default: octet]",
    ),
    click.option("--no-options", is_flag=True, help="Ask for no options: plain RFC 1350, 512 bytes at a time."),
    click.option("--tcp", is_flag=True, help="TCP where the address names no transport: HOST:PATH, tftp://."),
    click.option("--tls", is_flag=True, help="TLS 1.3 over TCP, in the same way, and for tftp+tcp://."),
    click.option("--cafile", type=_PEM, help="Trust this authority for TLS.  [default: those of the system]"),
    click.option("--cert", "certificate", type=_PEM, help="Show this certificate to a TLS server that wants one."),
    click.option("--key", type=_PEM, help="The key of that certificate.  [default: in the same file]"),
    click.option("-4", "--ipv4", is_flag=True, help="IPv4 only."),
    click.option("-6", "--ipv6", is_flag=True, help="IPv6 only."),
    click.option("--any-source", is_flag=True, help="Take the first answer from any address (broken servers). Unsafe."),
    PCAP,
    click.option("--json", "as_json", is_flag=True, help="One JSON object for each transfer on standard output."),
    click.option("-q", "--quiet", is_flag=True, help="No bar and no result line; errors still show."),
    click.option("-v", "--verbose", is_flag=True, help="Say what is asked and what is agreed."),
)  # fmt: skip


@click.command(epilog=_ADDRESSES)
@click.argument("sources", nargs=-1, required=True, type=TargetType(), metavar="SRC...")
@click.option("-o", "--output", metavar="DEST", help="File or directory to write to; - is standard output.")
@click.option("-n", "--no-clobber", is_flag=True, help="Keep a file that exists already, and fail.")
@_transfer_options
def get(sources: Sequence[Target], output: str | None, no_clobber: bool, **flags: Any) -> None:
    """Fetch files from a TFTP server.

    A file appears under its name when all of it is there; until then, and after a failure, what was there before stays.
    """
    jobs = plan_get([_over(source, flags) for source in sources], output)
    if flags["as_json"] and any(job.writes_standard_output for job in jobs):
        raise click.UsageError("--json and -o - both want standard output.")
    _run(jobs, _settings(flags, replace=not no_clobber), flags)


@click.command(epilog=_ADDRESSES)
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.argument("destination", type=TargetType(), metavar="DEST")
@_transfer_options
def put(files: Sequence[str], destination: Target, **flags: Any) -> None:
    """Send files to a TFTP server.

    DEST is a remote file, or a remote directory when it ends with a slash or a colon. FILE may be - for standard input.
    """
    _run(plan_put(files, _over(destination, flags)), _settings(flags), flags)


def _run(jobs: Sequence[Job], settings: Settings, flags: dict[str, Any]) -> None:
    """Every job in turn, then the exit."""
    display = Display(_verbosity(flags), jobs)
    try:
        with captured(flags["pcap"]) as recorder, stoppable():
            if removed := remove_leftovers(jobs):
                display.note(f"removed {removed} unfinished files of a get that was killed")
            exit_code = _run_each(jobs, replace(settings, recorder=recorder), display)
    except Stopped as stop:
        exit_code = stop.exit_code
    finally:
        display.close()
    click.get_current_context().exit(exit_code)


def _run_each(jobs: Sequence[Job], settings: Settings, display: Display) -> int:
    first_failure = 0
    transports = {job.target.transport for job in jobs}
    with exchanges(transports, settings, display.note) as exchange_for:
        for job in jobs:
            result = transfer(job, settings, display, exchange_for)
            display.report(result)
            if result.stop_code:
                return result.stop_code
            first_failure = first_failure or result.exit_code
    return first_failure or (ExitCode.LOCAL_WRITE if display.output_failed else ExitCode.OK)


def _over(target: Target, flags: dict[str, Any]) -> Target:
    """The target on the transport that address and flags name together. UsageError where they contradict."""
    if flags["tls"] or flags["tcp"]:
        target = target.over_stream(tls=flags["tls"])
    is_datagrams = target.transport is Transport.UDP
    blksize = flags["blksize"]
    if is_datagrams and isinstance(blksize, int) and blksize > BLKSIZE_LARGEST:
        raise click.UsageError(f"-b {blksize}: a datagram holds at most {BLKSIZE_LARGEST}; --tcp takes larger blocks.")
    if flags["pcap"] is not None and not is_datagrams:
        raise click.UsageError("--pcap records datagrams; what TCP really sends is seen by tcpdump alone.")
    if flags["certificate"] is None and flags["key"] is not None:
        raise click.UsageError("--key needs --cert.")
    return target


def _settings(flags: dict[str, Any], *, replace: bool = True) -> Settings:
    return Settings(
        blksize=flags["blksize"],
        windowsize=flags["windowsize"],
        timeout_s=flags["timeout"],
        retries=flags["retries"],
        max_time_s=flags["max_time"],
        mode=flags["mode"],
        use_options=not flags["no_options"],
        family=_family(flags["ipv4"], flags["ipv6"]),
        any_source=flags["any_source"],
        cafile=flags["cafile"],
        certificate=flags["certificate"],
        key=flags["key"],
        replace=replace,
    )


def _family(ipv4: bool, ipv6: bool) -> socket.AddressFamily:
    if ipv4 and ipv6:
        raise click.UsageError("-4 and -6 leave no address to use; leave both out to use either family.")
    if ipv4:
        return socket.AF_INET
    return socket.AF_INET6 if ipv6 else socket.AF_UNSPEC


def _verbosity(flags: dict[str, Any]) -> Verbosity:
    return Verbosity(json=flags["as_json"], quiet=flags["quiet"], verbose=flags["verbose"])
