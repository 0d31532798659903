"""What the clients of the soak do, and how one of them has to be judged afterwards.

Every errand moves one file with one program. Success is told from bytes: a client that says that all went well and left
other bytes is the one thing that must never happen. Programs that are lost on a lossy link for reasons of
their own (tftp-hpa cannot finish a write whose last ACK was lost, atftp gives up when an ACK is lost twice, busybox
asks for ever) fail, which is counted and is no fault of the server. tftp-hpa exits 0 whatever happens, so what it
prints is its status.
"""

from __future__ import annotations

import hashlib
import random
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from support import foreign_clients
from support.foreign_clients import CLIENTS, ForeignClient
from support.peers import find_peer

__all__ = ["Errand", "Verdict", "World", "draw", "judge"]

_OURS = [sys.executable, "-m", "blockstep"]
_SIZES = (0, 1, 511, 512, 513, 4096, 20_000, 60_000)
_LARGE_SIZES = (*_SIZES, 300_000, 1_048_576)


class Verdict(StrEnum):
    """What came of an errand."""

    DONE = "done"
    FAILED = "failed"
    KILLED = "killed"
    OUT_OF_TIME = "out of time"
    WRONG = "WRONG BYTES"


@dataclass(frozen=True, slots=True)
class World:
    """Where everything is: the server's root, a folder for clients, and the server's address and its two ports."""

    root: Path
    folder: Path
    host: str
    udp_port: int
    tcp_port: int

    def make_files(self, seed: int) -> None:
        """The files that are read; their names tell their sizes."""
        for size in _LARGE_SIZES:
            path = self.root / f"file-{size}"
            path.write_bytes(random.Random(f"{seed}/{size}").randbytes(size))
            path.chmod(0o644)


_NEVER = re.compile(rb"(?!)")
# tftp-hpa's exit status says nothing; busybox's is 0 when its last block was never acknowledged or was answered with
# an ERROR, as by a transfer that has been given the port of one that was killed.
_OWNS_UP = {
    foreign_clients.HPA.name: re.compile(rb"\S"),
    **dict.fromkeys(("busybox", "busybox-1428"), re.compile(rb"tftp: ")),
}


@dataclass(frozen=True, slots=True)
class Errand:
    """One file to move. `owns_up`: what the program says when it has failed, whatever its exit status is."""

    client: str
    is_put: bool
    argv: tuple[str, ...]
    local: Path
    remote: Path
    digest: str
    owns_up: re.Pattern[bytes] = _NEVER


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def draw(world: World, chance: random.Random, number: int) -> Errand:
    """The next errand: any client, any direction, any size that the client can move in a sensible time."""
    makers = _makers()
    name = chance.choice(sorted(makers))
    is_put = chance.random() < 0.4
    size = chance.choice(_LARGE_SIZES if name.startswith("blockstep") else _SIZES)
    local = world.folder / f"local-{number}"
    if is_put:
        content = chance.randbytes(size)
        local.write_bytes(content)
        remote = world.root / f"up-{number}"
    else:
        remote = world.root / f"file-{size}"
        content = remote.read_bytes()
    argv = makers[name](world, is_put, remote.name, local)
    return Errand(name, is_put, tuple(argv), local, remote, _digest(content), _OWNS_UP.get(name, _NEVER))


_Maker = Callable[[World, bool, str, Path], list[str]]


def _makers() -> dict[str, _Maker]:
    makers: dict[str, _Maker] = {
        "blockstep": _ours(),
        "blockstep-lockstep": _ours("--no-options"),
        "blockstep-window": _ours("-b", "512", "-w", "64"),
        "blockstep-tcp": _ours("--tcp"),
        "blockstep-tcp-small": _ours("--tcp", "-b", "512"),
    }
    found = [client for client in CLIENTS if find_peer(client.program) is not None]
    return makers | {client.name: _theirs(client) for client in found}


def _ours(*options: str) -> _Maker:
    def make(world: World, is_put: bool, remote: str, local: Path) -> list[str]:
        url = f"{world.host}:{world.tcp_port if '--tcp' in options else world.udp_port}/{remote}"
        if is_put:
            return [*_OURS, "put", "-q", *options, str(local), url]
        return [*_OURS, "get", "-q", *options, "-o", str(local), url]

    return make


def _theirs(client: ForeignClient) -> _Maker:
    def make(world: World, is_put: bool, remote: str, local: Path) -> list[str]:
        errand = foreign_clients.Errand(world.host, world.udp_port, remote, local, "octet", client.options)
        words = client.put_words(errand) if is_put else client.get_words(errand)
        return [str(find_peer(client.program)), *words]

    return make


def judge(errand: Errand, status: int, said: bytes) -> Verdict:
    """What came of an errand that ended by itself. An upload that failed may be whole, absent, or not yet there."""
    claims = status == 0 and not (errand.owns_up.search(said))
    target = errand.remote if errand.is_put else errand.local
    if claims:
        there = target.exists() and _digest(target.read_bytes()) == errand.digest
        return Verdict.DONE if there else Verdict.WRONG
    return Verdict.FAILED


def is_torn(errand: Errand) -> bool:
    """Whether the server has something under the name of an upload that is not all of it."""
    return errand.is_put and errand.remote.exists() and _digest(errand.remote.read_bytes()) != errand.digest
