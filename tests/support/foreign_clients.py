"""Other people's TFTP clients as tests call them: one object for each program with its options.

Decided here: how each is told to get and put, and what must be known about it to judge what it did.

- tftp-hpa's client exits 0 whatever happens, so success is judged by the bytes alone.
- curl passes netascii on as it stands on the wire, in both directions; the two others translate.
- busybox moves octets only, and asks for a block size only when told to. When nobody has acknowledged its last block it
  says "tftp: timeout", and its exit status is 0.
- None of them but atftp knows `windowsize`.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from support.peers import peer_path

__all__ = ["ATFTP", "ATFTP_WINDOW", "BUSYBOX", "CLIENTS", "CURL", "HPA", "ForeignClient", "each_client"]

PATIENCE_S = 60.0

Words = Callable[["Errand"], Sequence[str]]


@dataclass(frozen=True, slots=True)
class Errand:
    """What a client is to do; `options` are its own, as its user would write them."""

    host: str
    port: int
    remote: str
    local: Path
    mode: str
    options: tuple[str, ...]

    @property
    def url(self) -> str:
        """As curl takes it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"tftp://{host}:{self.port}/{self.remote};mode={self.mode}"


@dataclass(frozen=True, slots=True)
class ForeignClient:
    """A program, its options, and the words that make it get and put. `agreed` is what it should be granted."""

    name: str
    program: str
    get_words: Words
    put_words: Words
    options: tuple[str, ...] = ()
    agreed: tuple[tuple[str, int], ...] = ()

    def get(self, address: tuple[str, int], remote: str, local: Path, mode: str = "octet") -> None:
        """Fetch. Raises CalledProcessError (with what it said) if it says that it failed."""
        self._run(self.get_words(Errand(*address, remote, local, mode, self.options)))

    def put(self, address: tuple[str, int], local: Path, remote: str, mode: str = "octet") -> None:
        """Send. As `get`."""
        self._run(self.put_words(Errand(*address, remote, local, mode, self.options)))

    def session(self, address: tuple[str, int], lines: Sequence[str], folder: Path) -> None:
        """Say these lines to tftp-hpa's client, or who is like it, in `folder`. It uses one port for all of them."""
        host, port = address
        self._run([host, str(port)], "".join(f"{line}\n" for line in ("mode binary", *lines, "quit")), folder)

    def _run(self, words: Sequence[str], typed: str = "", folder: Path | None = None) -> None:
        done = subprocess.run(
            [peer_path(self.program), *words],
            input=typed.encode(),
            cwd=folder,
            capture_output=True,
            timeout=PATIENCE_S,
            check=False,
        )
        if done.returncode:
            raise AssertionError(f"{self.name} {words}: exit {done.returncode}: {done.stdout + done.stderr!r}")


def _curl_get(errand: Errand) -> list[str]:
    return ["-sS", "-g", *errand.options, "-o", str(errand.local), errand.url]


def _curl_put(errand: Errand) -> list[str]:
    return ["-sS", "-g", *errand.options, "-T", str(errand.local), errand.url]


_HPA_MODES = {"octet": "binary", "netascii": "ascii"}


def _hpa(errand: Errand, *words: str) -> list[str]:
    return ["-m", _HPA_MODES[errand.mode], *errand.options, errand.host, str(errand.port), "-c", *words]


def _hpa_get(errand: Errand) -> list[str]:
    return _hpa(errand, "get", errand.remote, str(errand.local))


def _hpa_put(errand: Errand) -> list[str]:
    return _hpa(errand, "put", str(errand.local), errand.remote)


def _short(errand: Errand, direction: str) -> list[str]:
    return [direction, "-r", errand.remote, "-l", str(errand.local), errand.host, str(errand.port)]


def _atftp(direction: str) -> Words:
    return lambda errand: ["--option", f"mode {errand.mode}", *errand.options, *_short(errand, direction)]


def _busybox(direction: str) -> Words:
    return lambda errand: ["tftp", *errand.options, *_short(errand, direction)]


_WIDE = ("--option", "blksize 1428", "--option", "windowsize 16")
_WIDE_AGREED = (("blksize", 1428), ("windowsize", 16))

CURL = ForeignClient("curl", "curl", _curl_get, _curl_put, agreed=(("blksize", 512), ("timeout", 6)))
HPA = ForeignClient("tftp-hpa", "tftp", _hpa_get, _hpa_put)
ATFTP = ForeignClient("atftp", "atftp", _atftp("-g"), _atftp("-p"))
ATFTP_WINDOW = ForeignClient("atftp-window", "atftp", _atftp("-g"), _atftp("-p"), _WIDE, _WIDE_AGREED)
BUSYBOX = ForeignClient("busybox", "busybox", _busybox("-g"), _busybox("-p"))

CLIENTS = (
    CURL,
    ForeignClient("curl-1428", "curl", _curl_get, _curl_put, ("--tftp-blksize", "1428"), (("blksize", 1428),)),
    ForeignClient("curl-bare", "curl", _curl_get, _curl_put, ("--tftp-no-options",)),
    HPA,
    ATFTP,
    ATFTP_WINDOW,
    BUSYBOX,
    ForeignClient("busybox-1428", "busybox", _busybox("-g"), _busybox("-p"), ("-b", "1428"), (("blksize", 1428),)),
)


def each_client(*clients: ForeignClient) -> pytest.MarkDecorator:
    """A test for each client (its argument `client`), which skips where the program is missing."""
    parameters = [pytest.param(client, id=client.name, marks=pytest.mark.peers(client.program)) for client in clients]
    return pytest.mark.parametrize("client", parameters)
