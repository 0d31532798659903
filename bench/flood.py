"""A thousand honest clients, one MiB each, beside 20,000 forged requests a second.

    sudo .venv/bin/python bench/flood.py

Everything happens in a network namespace of its own, on one listening socket: the honest clients have addresses of
their own on this machine, the forged requests come out of a TUN device (`forger`). They have begun some seconds before
the first honest one, so that all places for strangers are taken. Said at the end: whether every honest client has its
file, byte for byte; what the most unlucky victim got; whether the server is as it was. The exit status is 1 if a
promise of SECURITY.md was broken.
"""

from __future__ import annotations

import ipaddress
import json
import multiprocessing
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path

import click

import procfs
from blockstep.protocol.wire import Opcode, Request
from blockstep_lab.netns.namespaces import unshare_network
from blockstep_lab.netns.plumbing import load_pyroute2
from blockstep_lab.netns.ports import open_tun
from forger import Flood, Suffered, forge
from stage import MIB
from storm import Outcome, Storm, run_storm

_SERVER, _PORT = "10.255.0.1", 6969
_HONEST = "10.1.0.0/16"
_VICTIMS = "172.16.0.0/12"
_DEVICE = "elsewhere"
_MOST_DATAGRAMS, _MOST_OCTETS = 3, 1548
# What an unanswered transfer of the default settings takes until it is given up, and a little more.
_UNANSWERED_S = 15.0
_LIMIT_S = 180.0
_AHEAD_S = 3.0
_WORDS = (
    Request(Opcode.RRQ, "file", "octet"),
    Request(Opcode.RRQ, "file", "octet", (("blksize", "1428"), ("windowsize", "64"), ("tsize", "0"))),
    Request(Opcode.RRQ, "missing", "octet"),
    Request(Opcode.WRQ, "new", "octet"),
)


@click.command()
@click.option("--clients", type=click.IntRange(1, 60000), default=1000, show_default=True)
@click.option("--size", "size_bytes", type=click.IntRange(0), default=MIB, show_default=True)
@click.option("--windowsize", type=click.IntRange(1, 64), default=16, show_default=True)
@click.option("--forged", "per_s", type=click.IntRange(0), default=20_000, show_default=True, help="Requests a second.")
@click.option("--seed", type=int, default=1, show_default=True)
@click.argument("serve_options", nargs=-1)
def main(clients: int, size_bytes: int, windowsize: int, per_s: int, seed: int, serve_options: tuple[str, ...]) -> None:
    """Flood a server, and see who is served. SERVE_OPTIONS (after --) are given to `blockstep serve`."""
    _build_network()
    with tempfile.TemporaryDirectory(prefix="blockstep-flood-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        content = _file(folder / "root", size_bytes)
        with _served(folder, serve_options) as pid, _flooded(per_s, seed) as orders:
            before = procfs.descriptors(pid)
            time.sleep(_AHEAD_S)
            outcome = run_storm(
                Storm(
                    address=(_SERVER, _PORT),
                    name="file",
                    expected=content,
                    clients=clients,
                    blksize=1428,
                    windowsize=windowsize,
                    limit_s=_LIMIT_S,
                    hosts=_hosts(clients),
                )
            )
            orders.send("enough")
            settled = procfs.wait_until(lambda: not procfs.children(pid), _UNANSWERED_S)
            suffered = _counted(orders)
            left = procfs.descriptors(pid) - before
    found = _told(outcome, suffered, settled=settled and not left)
    click.echo(json.dumps(found, indent=2))
    sys.exit(int(bool(found["broken"])))


def _build_network() -> None:
    """This process moves into a namespace of its own: a loopback with many addresses, and a way to everybody else."""
    unshare_network()
    with load_pyroute2().IPRoute() as kernel:
        kernel.link("set", index=1, state="up")
        kernel.route("add", dst=_HONEST, oif=1, type="local", table=255, scope=254)
        kernel.addr("add", index=1, address=_SERVER, prefixlen=32)


@contextmanager
def _served(folder: Path, options: tuple[str, ...]) -> Iterator[int]:
    """The server's process id, from the moment it is ready."""
    argv = [sys.executable, "-m", "blockstep", "serve", str(folder / "root"), "-b", f"{_SERVER}:{_PORT}"]
    log = folder / "log"
    with log.open("wb") as stream:
        process = subprocess.Popen([*argv, "--upload", "create", "--log-format", "json", *options], stderr=stream)
    try:
        if not procfs.wait_until(lambda: b'"ready"' in log.read_bytes() or process.poll() is not None, 10.0):
            raise click.ClickException("the server does not get ready")
        if process.poll() is not None:
            raise click.ClickException(f"the server ended: {log.read_text()}")
        yield process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


@contextmanager
def _flooded(per_s: int, seed: int) -> Iterator[Connection]:
    """A forger at work; how it is told to stop and to tell what the victims got."""
    tun = open_tun(_DEVICE)
    with load_pyroute2().IPRoute() as kernel:
        index = kernel.link_lookup(ifname=_DEVICE)[0]
        kernel.link("set", index=index, state="up", txqlen=20_000)
        kernel.route("add", dst=_VICTIMS, oif=index)
    victims = ipaddress.ip_network(_VICTIMS)
    flood = Flood(
        server=(int(ipaddress.ip_address(_SERVER)), _PORT),
        victims=(int(victims.network_address), victims.num_addresses),
        words=tuple(request.to_bytes() for request in _WORDS),
        per_s=per_s,
        seed=seed,
    )
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("fork").Process(target=forge, args=(tun, flood, theirs), daemon=True)
    process.start()
    try:
        yield ours
    finally:
        process.terminate()
        process.join()


def _counted(orders: Connection) -> Suffered:
    orders.send("that was all")
    suffered = orders.recv()
    assert isinstance(suffered, Suffered)
    return suffered


def _file(root: Path, size_bytes: int) -> bytes:
    root.mkdir(mode=0o755)
    content = b"".join(number.to_bytes(8, "big") for number in range(size_bytes // 8 + 1))[:size_bytes]
    (root / "file").write_bytes(content)
    return content


def _hosts(clients: int) -> tuple[str, ...]:
    first = ipaddress.ip_network(_HONEST).network_address + 256
    return tuple(str(first + number) for number in range(clients))


def _told(outcome: Outcome, suffered: Suffered, *, settled: bool) -> dict[str, object]:
    victims = suffered.summary()
    broken = []
    if outcome.failed:
        broken.append(f"{outcome.failed} honest clients without their file: {outcome.errors}")
    if (
        victims["most_datagrams_for_one_request"] > _MOST_DATAGRAMS
        or victims["most_octets_for_one_request"] > _MOST_OCTETS
    ):
        broken.append("a victim got more than was promised")
    if not settled:
        broken.append("the server is not as it was")
    honest = {
        "finished": outcome.finished,
        "failed": outcome.failed,
        "seconds": round(outcome.seconds, 1),
        "mb_s": round(outcome.mb_s, 1),
        "asked_again": outcome.asked_again,
    }
    return {"honest": honest, "victims": victims, "broken": broken}


if __name__ == "__main__":
    main()
