"""The servers under measurement: how each is started on the loopback, told apart, and stopped.

Every server runs in a process of ours, in the foreground, with its log in a file, on the same root and with its own
limits on simultaneous transfers lifted, so that none fails for a default. Programs are found on the PATH and where
`.ci/peers` unpacks them; those from PyPI live in throw-away environments `.peers/venv-NAME`, because one of them is
imported as `tftp` and must not come near ours. Which are missing is told, never an error.

Not known here: what is measured.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import click

import procfs
from blockstep.protocol.errors import TftpError
from fast_client import CountingSink, Request, fetch

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT / "tests"))

from support.peers import find_peer  # noqa: E402 - the folder is not on the path before the line above

READY_NAME = "ready.bin"
_READY_WITHIN_S = 10.0
_STOP_WITHIN_S = 5.0

OURS = "blockstep"
OURS_SINGLE = "blockstep --single-port"
C_SERVERS = ("tftpd-hpa", "atftpd", "dnsmasq")

Address = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Kind:
    """A make of server. `command(root, address)` starts it; `version` is a command that tells its version."""

    name: str
    program: str | None
    command: Callable[[str, Path, Address], Sequence[str]]
    version: Sequence[str]
    fixed_port: bool = False

    @property
    def is_ours(self) -> bool:
        """Whether this is the server that the others are compared with."""
        return self.name.startswith(OURS)


class CannotStart(click.ClickException):
    """A server that did not answer in time; the text is the end of its log."""


@dataclass(slots=True)
class Server:
    """A running server."""

    kind: Kind
    address: Address
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def name(self) -> str:
        """The name of its kind."""
        return self.kind.name

    @property
    def pid(self) -> int:
        """Its first process."""
        return self.process.pid

    def settle(self, limit_s: float = 2.0) -> bool:
        """Wait until every child has been waited for, so that its CPU time has been counted."""
        return procfs.wait_until(lambda: not procfs.children(self.pid), limit_s)

    def stop(self) -> None:
        """End it and what it started: it leads a process group of its own."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(_STOP_WITHIN_S)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)  # children of a parent that left without them


def _blockstep(*flags: str) -> Callable[[str, Path, Address], Sequence[str]]:
    def command(program: str, root: Path, address: Address) -> Sequence[str]:
        host, port = address
        listen = ("-b", host, "-p", str(port))
        return (program, "-m", "blockstep", "serve", *listen, "--log-format", "json", *flags, str(root))

    return command


def _tftpd_hpa(program: str, root: Path, address: Address) -> Sequence[str]:
    return (program, "-L", "-a", f"{address[0]}:{address[1]}", "-u", _user(), "-s", str(root))


def _atftpd(program: str, root: Path, address: Address) -> Sequence[str]:
    listen = ("--bind-address", address[0], "--port", str(address[1]))
    quiet = ("--logfile", os.devnull, "--user", f"{_user()}.{'root' if os.geteuid() == 0 else _user()}")
    return (program, "--daemon", "--no-fork", "--maxthread", "2000", *quiet, *listen, str(root))


def _dnsmasq(program: str, root: Path, address: Address) -> Sequence[str]:
    only_tftp = ("--conf-file=/dev/null", "--port=0", "--enable-tftp", f"--tftp-root={root}", "--tftp-max=2000")
    # its largest block is what its DNS buffer holds
    where = (f"--listen-address={address[0]}", "--bind-interfaces", "--edns-packet-max=65535")
    quiet = ("--keep-in-foreground", "--pid-file=", f"--user={_user()}", f"--log-facility={os.devnull}")
    return (program, *only_tftp, *where, *quiet)


def _tftpy(program: str, root: Path, address: Address) -> Sequence[str]:
    code = "import sys, tftpy; tftpy.TftpServer(sys.argv[1]).listen(sys.argv[2], int(sys.argv[3]))"
    return (program, "-c", code, str(root), address[0], str(address[1]))


def _pytftp(program: str, root: Path, address: Address) -> Sequence[str]:
    return (program, "-q", "serve", "-l", f"{address[0]}:{address[1]}", "--max-sessions", "0", str(root))


def _user() -> str:
    """Files are readable for all, but some programs insist on a user that they can look up."""
    return "root" if os.geteuid() == 0 else "nobody"


def _in_venv(name: str, program: str) -> str | None:
    path = ROOT / ".peers" / f"venv-{name}" / "bin" / program
    return str(path) if path.exists() else None


def _found(program: str) -> str | None:
    path = find_peer(program)
    return str(path) if path else None


def _metadata(name: str) -> tuple[str, ...]:
    return ("-c", f"from importlib.metadata import version; print(version({name!r}))")


def kinds() -> list[Kind]:
    """Every make of server that we know how to start; `program` is None where it is not installed."""
    tftpy, pytftp = _in_venv("tftpy", "python"), _in_venv("tftp", "pytftp")
    return [
        Kind(OURS, sys.executable, _blockstep(), ("-m", "blockstep", "--version")),
        Kind(OURS_SINGLE, sys.executable, _blockstep("--single-port"), ("-m", "blockstep", "--version")),
        Kind("tftpd-hpa", _found("in.tftpd"), _tftpd_hpa, ("-V",)),
        Kind("atftpd", _found("atftpd"), _atftpd, ("-V",)),
        Kind("dnsmasq", _found("dnsmasq"), _dnsmasq, ("--version",), fixed_port=True),
        Kind("tftpy", tftpy, _tftpy, _metadata("tftpy")),
        Kind("pytftp", pytftp, _pytftp, ("--version",)),
    ]


def ours_with(*flags: str) -> Kind:
    """Our server with further flags."""
    return Kind(OURS, sys.executable, _blockstep(*flags), ("-m", "blockstep", "--version"))


def version_of(kind: Kind) -> str:
    """The first line that the program says about itself."""
    if kind.program is None:
        return "not installed"
    said = subprocess.run([kind.program, *kind.version], capture_output=True, text=True, timeout=20, check=False)
    return next(iter((said.stdout or said.stderr).strip().splitlines()), "?")[:100]


@contextlib.contextmanager
def running(kind: Kind, root: Path, logs: Path) -> Iterator[Server]:
    """The server, from its first answer to its end. CannotStart if it does not answer."""
    server = start(kind, root, logs)
    try:
        yield server
    finally:
        server.stop()


def start(kind: Kind, root: Path, logs: Path) -> Server:
    """Start a server on `root`, which must hold READY_NAME, and wait until that can be had from it."""
    if kind.program is None:
        raise CannotStart("not installed")
    address = _free_address(kind.fixed_port)
    log = logs / f"{kind.name.replace(' ', '')}-{address[1]}.log"
    with log.open("wb") as stream:
        process = subprocess.Popen(
            kind.command(kind.program, root, address),
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            start_new_session=True,
        )
    server = Server(kind, address, process, log)
    try:
        _await_ready(server)
    except BaseException:
        server.stop()
        raise
    return server


def _await_ready(server: Server) -> None:
    until = time.monotonic() + _READY_WITHIN_S
    while time.monotonic() < until and server.process.poll() is None:
        request = Request(address=server.address, name=READY_NAME, max_time_s=0.5)
        with contextlib.suppress(TftpError, OSError):
            fetch(request, CountingSink())
            return
        time.sleep(0.02)
    tail = server.log.read_text(errors="replace").strip().splitlines()[-1:]
    raise CannotStart(" ".join(tail) or f"no answer within {_READY_WITHIN_S:g} s")


def _free_address(fixed_port: bool) -> Address:
    """A port that is free now; for a program that knows only port 69 an address on which that is free."""
    for _ in range(32):
        host = f"127.{random.randrange(1, 255)}.{random.randrange(256)}.{random.randrange(1, 255)}"
        wanted = (host, 69) if fixed_port else ("127.0.0.1", 0)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.bind(wanted)
            except PermissionError:
                raise CannotStart("it listens on port 69 alone, which needs root") from None
            except OSError:
                continue
            name: Address = probe.getsockname()
            return name
    raise CannotStart("no free port")
