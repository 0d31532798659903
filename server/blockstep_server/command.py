"""`blockstep serve`: what may stand on its command line, and the exit code.

Only words and their meaning are here: a `ServerConfig` comes out, and `serving` does the rest.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from blockstep.capturing import PCAP, cannot_write
from blockstep.exits import ExitCode
from blockstep.protocol.errors import LocalError
from blockstep.protocol.framing import PAYLOAD_LARGEST
from blockstep.protocol.options import BLKSIZE_LARGEST, BLKSIZE_SMALLEST, KNOWN_OPTIONS, WINDOWSIZE_LARGEST
from blockstep_server.config import LogFormat, ServerConfig
from blockstep_server.params import BIND, MODE, MTU, NETWORK, PORT_RANGE, SIZE, TCP
from blockstep_server.rereading import settings_file, words_again
from blockstep_server.upload_policy import UploadPolicy
from blockstep_server.values import Bind

__all__ = ["serve"]

_STDERR = 2
_Command = TypeVar("_Command", bound=Callable[..., Any])

_EPILOG = """
\b
Examples:
  blockstep serve -b 127.0.0.1 -p 6969 .       try it out, no privileges needed
  sudo blockstep serve --user tftp /srv/tftp     the usual port, without root's rights
  blockstep serve -p 6969 -W --max-upload 64M .  take uploads that replace nothing
  blockstep serve -p 6969 --tcp 6970 .           the same files over TCP
"""


_FILE: Final = click.Path(dir_okay=False, readable=False, path_type=Path)  # as whom it is read is known later
_SOCKET: Final = click.Path(dir_okay=False, readable=False, path_type=Path)
_PARAMETERS: Final = (
    click.argument("root", default=".", type=click.Path(exists=True, file_okay=False, path_type=Path)),
    click.option("-b", "--bind", "binds", multiple=True, type=BIND, metavar="ADDR[:PORT]",
        help="Listen on this address; repeatable. [default: all, IPv4 and IPv6]"),
    click.option("-p", "--port", default=69, show_default=True, type=click.IntRange(0, 65535),
        help="The port where --bind names none. 0: the system chooses."),
    click.option("--udp/--no-udp", default=True, show_default=True, help="Listen for datagrams, as TFTP has it."),
    click.option("--tcp", multiple=True, type=TCP, metavar="[ADDR:]PORT",
        help="Serve over TCP too; repeatable. Without ADDR: the addresses of --bind."),
    click.option("--unix", multiple=True, type=_SOCKET, metavar="PATH",
        help="Serve on this UNIX socket too; repeatable."),
    click.option("--unix-mode", default="600", show_default=True, type=MODE, metavar="MODE",
        help="The permissions of these sockets: who may write to one may use it."),
    click.option("--tls-cert", type=_FILE, help="Speak TLS 1.3 on --tcp, with this certificate chain (PEM). "
        "UDP has no TLS."),
    click.option("--tls-key", type=_FILE, help="The key of that certificate.  [default: in the same file]"),
    click.option("--tls-client-ca", type=_FILE, metavar="FILE",
        help="Serve only clients that show a certificate of this authority."),
    click.option("--control", type=_SOCKET, metavar="PATH",
        help="Answer `blockstep status PATH`, and the words drain and reload, on this UNIX socket (mode 0600)."),
    click.option("--upload", "uploads", default="none", show_default=True,
        type=click.Choice([policy.value for policy in UploadPolicy]),
        help="Whether clients may write: not at all, new files only, or also over existing ones."),
    click.option("-W", "create", is_flag=True, help="Short for --upload create."),
    click.option("--max-upload", "max_upload_bytes", type=SIZE, metavar="SIZE",
        help="Refuse larger uploads, for example 64M."),
    click.option("--single-port/--no-single-port", default=False, show_default=True,
        help="Answer from the listening port, for NAT and firewalls that know no TFTP."),
    click.option("--port-range", type=PORT_RANGE, metavar="LOW:HIGH",
        help="Answer from ports in this range. [default: any free port]"),
    click.option("--blksize-max", type=click.IntRange(BLKSIZE_SMALLEST, PAYLOAD_LARGEST), metavar="N",
        help=f"Grant no larger blocks, in bytes.  [default: {BLKSIZE_LARGEST} in a datagram, {PAYLOAD_LARGEST} on a "
        "stream]"),
    click.option("--windowsize-max", default=64, show_default=True, type=click.IntRange(1, WINDOWSIZE_LARGEST),
        help="Grant no larger windows, in blocks. Small network cards want 16 or less."),
    click.option("--mtu", default=None, type=MTU, metavar="auto|N",
        help="Grant no blocks that need fragments: by what the kernel knows of each path, or on any with this MTU. "
        "[default: grant what is asked]"),
    click.option("--refuse", multiple=True, type=click.Choice(sorted(KNOWN_OPTIONS), case_sensitive=False),
        metavar="OPTION", help="Act as if this TFTP option were unknown; repeatable."),
    click.option("--timeout", "timeout_s", default=4.0, show_default=True, type=click.FloatRange(0.01, 255),
        metavar="SECONDS", help="The longest wait before a packet is sent again, if the client asks for none."),
    click.option("--retries", default=6, show_default=True, type=click.IntRange(0, 1000),
        help="Give up a silent client after this many such waits."),
    click.option("--request-timeout", "request_timeout_s", default=10.0, show_default=True, metavar="SECONDS",
        type=click.FloatRange(min=0.01), help="Drop a connection on which no complete request comes for so long."),
    click.option("--max-time", "max_time_s", type=click.FloatRange(min=0.01), metavar="SECONDS",
        help="End any transfer that takes longer. [default: no limit]"),
    click.option("--max-sessions", default=1000, show_default=True, type=click.IntRange(min=1),
        help="Transfers at one time, in total."),
    click.option("--max-per-client", type=click.IntRange(min=1),
        help="Transfers at one time for one address (IPv6: one /64), besides as many, 16 at most, that only stay in "
        "case their last ACK was lost. [default: no limit of its own]"),
    click.option("--max-half-open", default=256, show_default=True, type=click.IntRange(min=1),
        help="Transfers at one time for one address whose client has not answered yet, and may be forged."),
    click.option("--strict-source", is_flag=True,
        help="Until a client has answered, send one packet for each of its requests and none again."),
    click.option("--allow", multiple=True, type=NETWORK, metavar="CIDR",
        help="Serve these networks only; repeatable."),
    click.option("--deny", multiple=True, type=NETWORK, metavar="CIDR",
        help="Never serve these networks, whatever --allow says; repeatable."),
    click.option("--drain-timeout", "drain_timeout_s", default=30.0, show_default=True, type=click.FloatRange(min=0),
        metavar="SECONDS", help="How long a stop waits for running transfers. A second signal cuts it short."),
    click.option("--user", metavar="NAME", help="After binding, become this user and give up all rights of root. "
        "root: stay root, with its right to read and write files and no other.  [default: nobody, if started as root]"),
    click.option("--sandbox/--no-sandbox", default=True, show_default=True,
        help="Each transfer gives up, as far as this system can, everything but the file that it moves."),
    click.option("--print-sandbox", is_flag=True, help="Show what that is on this system, with --user, and exit."),
    click.option("--nice", default=0, show_default=True, type=click.IntRange(0, 19), metavar="N",
        help="Let transfers stand back behind other work of this machine, by so much."),
    click.option("--pidfile", type=click.Path(dir_okay=False, path_type=Path),
        help="Write the process id to this file."),
    PCAP,
    click.option("--log-format", default="text", show_default=True,
        type=click.Choice([each.value for each in LogFormat]), help="How a line on stderr is written."),
    click.option("-1", "--one-off", is_flag=True, help="Stop after one transfer, with its exit status."),
    click.option("-d", "--debug-no-fork", is_flag=True, help="One transfer in this very process, for a debugger."),
    click.option("-v", "--verbose", "verbosity", count=True, help="Tell also what was ignored."),
    click.option("-q", "--quiet", is_flag=True, help="Tell problems only."),
)  # fmt: skip


def _parameters(command: _Command) -> _Command:
    for parameter in reversed(_PARAMETERS):
        command = parameter(command)
    return command


@click.command(epilog=_EPILOG)
@_parameters
@click.pass_context
def serve(ctx: click.Context, /, **words: Any) -> int:
    """Serve the files below a directory over TFTP.

    ROOT is the directory, by default the current one. Clients can read every file in it that the server can, and write
    nothing unless --upload says so. SIGTERM and Ctrl-C stop it after the running transfers; SIGHUP has it read its
    settings file again.
    """
    from blockstep.transport.pcapng_writer import CannotCapture
    from blockstep_server.listen import CannotBind
    from blockstep_server.log_output import LogOutput
    from blockstep_server.report import Reporter
    from blockstep_server.serving import start

    try:
        config = _config(words)
        if ctx.params["print_sandbox"]:
            return _print_sandbox(config)
        reread = None if settings_file(ctx) is None else lambda: _config(words_again(ctx))
        return start(config, Reporter(LogOutput(_STDERR), config.log_format, config.verbosity), reread=reread)
    except CannotBind as error:
        raise _CannotBind(str(error)) from error
    except CannotCapture as error:
        raise cannot_write(error) from error
    except LocalError as error:
        raise _CannotBegin(str(error)) from error


def _print_sandbox(config: ServerConfig) -> int:
    from blockstep_server.serving import describe_sandbox

    for line in describe_sandbox(config):
        click.echo(line)
    return 0


class _CannotBegin(click.ClickException):
    exit_code = ExitCode.USAGE


class _CannotBind(click.ClickException):
    exit_code = ExitCode.CANNOT_BIND


def _config(words: dict[str, Any]) -> ServerConfig:
    """The words of the command line as a configuration. LocalError where they contradict each other."""
    if words.pop("create") and words["uploads"] == UploadPolicy.NONE.value:
        words["uploads"] = UploadPolicy.CREATE.value
    words.pop("print_sandbox", None)  # of no matter to a server that runs
    if words.pop("quiet"):
        words["verbosity"] = -1
    for several in ("tcp", "unix", "allow", "deny"):
        words[several] = tuple(words[several])
    words["binds"] = words["binds"] or (Bind(""),)
    words["refuse"] = frozenset(words["refuse"])
    words["uploads"] = UploadPolicy(words["uploads"])
    words["log_format"] = LogFormat(words["log_format"])
    return ServerConfig(**words)
