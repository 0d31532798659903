"""Other people's TFTP servers for the tests of our client, each started for one directory and gone afterwards.

tftpd-hpa and atftpd are started as inetd would: they inherit a bound socket, so the port is the system's choice and
requests wait in the socket until they are ready. dnsmasq listens on port 69 and nowhere else, so it gets a loopback
address that no other process of the tests has. All of them give up root for a user, which only root can do; they are
told to stay root, because a test's directory is nobody else's to read.

Left out: busybox, whose Debian build has neither `tftpd` nor `udpsvd`.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from select import select

import pytest

from support.peers import peer_path
from support.processes import own_loopback_host

__all__ = ["ATFTPD", "DNSMASQ", "FOREIGN_SERVERS", "TFTPD_HPA", "ForeignServer"]

Address = tuple[str, int]
START_WITHIN_S = 30.0


@dataclass(frozen=True, slots=True)
class ForeignServer:
    """A server program. `running(root, host)` serves a directory on that host's address, and gives where it listens.

    `takes_files`: it can be written to. `window`: the largest windowsize that it grants to who asks for 16.
    """

    name: str
    program: str
    running: Callable[[Path, str], AbstractContextManager[Address]]
    takes_files: bool = True
    window: int = 1


@contextmanager
def _tftpd_hpa(root: Path, host: str) -> Iterator[Address]:
    # without --permissive a file that not everybody may read is refused, which lets a test run by root be refused too
    words = ["--user", "root", "--create", "--secure", "--timeout", "600", os.fspath(root)]
    with _inheriting(host, [peer_path("in.tftpd"), *words]) as address:
        yield address


@contextmanager
def _atftpd(root: Path, host: str) -> Iterator[Address]:
    words = ["--user", "root.root", "--logfile", "/dev/null", "--tftpd-timeout", "600", os.fspath(root)]
    with _inheriting(host, [peer_path("atftpd"), *words]) as address:
        yield address


@contextmanager
def _dnsmasq(root: Path, _host: str) -> Iterator[Address]:
    host = own_loopback_host()
    words = [
        *("--no-daemon", "--conf-file=/dev/null", "--pid-file=", "--user=root", "--port=0", "--log-facility=-"),
        *("--enable-tftp", f"--tftp-root={root}", "--bind-interfaces", f"--listen-address={host}"),
    ]
    with _process([peer_path("dnsmasq"), *words], stderr=subprocess.PIPE) as process:
        _await_line(process, b"TFTP root is")
        yield host, 69


@contextmanager
def _inheriting(host: str, argv: list[str]) -> Iterator[Address]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.bind((host, 0))
        address = (host, sock.getsockname()[1])
        with _process(argv, stdin=sock, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL):
            sock.close()  # the server's alone: when it is gone, the port is closed
            yield address


@contextmanager
def _process(argv: list[str], **popen: object) -> Iterator[subprocess.Popen[bytes]]:
    """The process in a group of its own; the whole group is gone afterwards, and it must have lived until then."""
    if os.geteuid() != 0:
        pytest.skip(f"{Path(argv[0]).name} can only be started by root")
    with subprocess.Popen(argv, start_new_session=True, **popen) as process:  # type: ignore[call-overload]
        try:
            yield process
            assert process.poll() is None, f"{argv[0]} ended by itself, with status {process.returncode}"
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def _await_line(process: subprocess.Popen[bytes], wanted: bytes) -> None:
    assert process.stderr is not None
    said = b""
    while wanted not in said:
        ready, _, _ = select([process.stderr], [], [], START_WITHIN_S)
        more = os.read(process.stderr.fileno(), 4096) if ready else b""
        assert more, f"the server did not start: {said.decode(errors='replace')}"
        said += more


TFTPD_HPA = ForeignServer("tftpd-hpa", "in.tftpd", _tftpd_hpa)
ATFTPD = ForeignServer("atftpd", "atftpd", _atftpd, window=16)
DNSMASQ = ForeignServer("dnsmasq", "dnsmasq", _dnsmasq, takes_files=False)
FOREIGN_SERVERS = (TFTPD_HPA, ATFTPD, DNSMASQ)
