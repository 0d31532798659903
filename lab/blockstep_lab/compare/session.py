"""A comparison from the words of its command line to its record.

Decided here: what the words ask for (grid, file, place), and when the record is written: every two seconds, and at the
end, whichever that is.
"""

from __future__ import annotations

import hashlib
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from blockstep.exits import ExitCode
from blockstep.protocol.errors import LocalError
from blockstep_lab.compare import grid as grids
from blockstep_lab.compare.arena import Arena
from blockstep_lab.compare.campaign import Campaign
from blockstep_lab.compare.facts import available_congestions, describe_method
from blockstep_lab.compare.grid import Grid, Order
from blockstep_lab.compare.outcome import Observed
from blockstep_lab.compare.progress import Progress
from blockstep_lab.compare.remote import Remote, Server, remote_link
from blockstep_lab.compare.results import LOCAL, CompareResult, Contender
from blockstep_lab.compare.running import Place, measure_all, simulate_all
from blockstep_lab.compare.simulated import with_simulated
from blockstep_lab.endpoints import parse_endpoint
from blockstep_lab.simulation import content_of
from blockstep_lab.words import WordsError

__all__ = ["Session", "Wishes"]

_LARGEST_BYTES = 1 << 30
_WRITE_EVERY_S = 2.0
_MTU = 1500
_TFTP_PORT = 69
_DEFAULT_CONTROLS = ("cubic", "bbr")


@dataclass(frozen=True, slots=True)
class Wishes:
    """The command line: its words by name, as they were given, and the line that repeats it."""

    words: dict[str, Any]
    command: tuple[str, ...]
    is_grid_wanted: bool


class Session:
    """One comparison. `run` makes it, `record` tells it. WordsError and LocalError for what cannot be asked for."""

    def __init__(self, wishes: Wishes) -> None:
        words = wishes.words
        self._words = words
        self._max_time_s: float = words["max_time_s"]
        path = words["json_path"]
        self._path: Path | None = None if path is None or str(path) == "-" else path
        self._remote: Remote | None = None
        self._content = b""
        if words["host"] is not None:
            grid, where, file = self._remote_grid(words)
        else:
            grid, where, file = self._local_grid(words, wishes.is_grid_wanted)
        name, size, sha256 = file
        self._file_bytes = size
        digest = grid.digest(where, words["host"], sha256, self._max_time_s)
        method = describe_method(
            grid,
            where=where,
            host=words["host"],
            command=wishes.command,
            digest=digest,
            file_name=name,
            file_bytes=size,
            file_sha256=sha256,
            max_time_s=self._max_time_s,
            mtu=_MTU,
        )
        self._campaign = Campaign(grid, method)
        if words["resume"] and self._path is not None and self._path.exists():
            self._campaign.resume(CompareResult.read(self._path))
        self._written_at = self._counted_at = time.monotonic()

    def run(self) -> BaseException | None:
        """Makes what is pending. What interrupted it, if something did; `LabUnavailable` before anything is made."""
        campaign = self._campaign
        pending = [*campaign.pending(simulated=True), *campaign.pending(simulated=False)]
        self._written_at = self._counted_at = time.monotonic()
        try:
            with _terminated(), Progress(pending, self._file_bytes, self._max_time_s) as progress:
                self._run_all(progress)
        except (KeyboardInterrupt, SystemExit) as stop:
            return stop
        finally:
            self._save(self.record)
        return None

    def record(self) -> CompareResult:
        """The whole record of what is done."""
        return self._campaign.result()

    def _run_all(self, progress: Progress) -> None:
        def done(order: Order, observed: Observed) -> None:
            self._campaign.add(observed)
            progress.done(order, observed.run)
            if time.monotonic() >= self._written_at + _WRITE_EVERY_S:
                self._save(self._campaign.checkpoint)

        simulate_all(self._campaign.pending(simulated=True), self._content, done, jobs=self._words["jobs"])
        orders = self._campaign.pending(simulated=False)
        if orders:
            with self._place(orders) as place:
                measure_all(orders, place, progress.begin, done)

    @contextmanager
    def _place(self, orders: list[Order]) -> Iterator[Place]:
        with ExitStack() as stack:
            if self._remote is not None:
                stack.callback(self._remote.close)
                yield self._remote
                return
            needs_link = any(order.link.id != LOCAL for order in orders)
            arena = stack.enter_context(
                Arena(self._content, max_time_s=self._max_time_s, mtu=_MTU, needs_link=needs_link)
            )
            self._campaign.method = replace(self._campaign.method, carrier=arena.carrier, scheduler=arena.scheduler)
            yield arena

    def _save(self, record: Any) -> None:
        now = time.monotonic()
        self._campaign.spent(now - self._counted_at)
        self._written_at = self._counted_at = now
        if self._path is not None and self._campaign.has_runs:
            record().write(self._path)

    # What the words ask for.

    def _local_grid(self, words: dict[str, Any], is_grid_wanted: bool) -> tuple[Grid, str, tuple[str, int, str]]:
        self._content, name = _file(words["file"], words["size"])
        links = grids.named_links(words["links"])
        if is_grid_wanted:
            rate = grids.parse_rate(words["rate"])
            losses, delays = grids.parse_losses(words["loss"]), grids.parse_delays(words["delay"])
            links = [*grids.grid_links(losses, delays, rate), *links]
        ids = [link.id for link in links]
        if len(set(ids)) < len(ids):
            raise WordsError("--link: two of the links are the same")
        contenders = grids.contenders_of(
            grids.parse_transports(words["transport"]),
            grids.parse_windowsizes(words["windowsize"]),
            grids.parse_blksizes(words["blksize"]),
            _congestions(words["cc"]),
        )
        if any(contender.ceiling for contender in contenders):
            links.append(grids.local_link())
        grid = Grid(contenders=tuple(contenders), links=tuple(links), repeats=words["repeat"], seed=words["seed"])
        if words["simulate"] is not None:
            grid = with_simulated(grid, words["simulate"], len(self._content), self._max_time_s)
        if not list(grid.orders()):
            raise WordsError("nothing is left to run: --simulate all is for UDP alone")
        where = "simulation" if words["simulate"] == "all" else "namespaces"
        return grid, where, (name, len(self._content), hashlib.sha256(self._content).hexdigest())

    def _remote_grid(self, words: dict[str, Any]) -> tuple[Grid, str, tuple[str, int, str]]:
        endpoint = parse_endpoint(words["host"], _TFTP_PORT)
        try:
            _, address = endpoint.resolve_udp()
        except socket.gaierror as error:
            raise LocalError(f"{endpoint.host}: {error.strerror}") from error
        host, port = str(address[0]), endpoint.port
        server = Server(host, port, words["tcp_port"] or port, words["file"])
        transports = [each for each in grids.parse_transports(words["transport"]) if each in ("udp", "tcp")]
        windows, blksizes = grids.parse_windowsizes(words["windowsize"]), grids.parse_blksizes(words["blksize"])
        contenders = grids.contenders_of(transports, windows, blksizes, ["?"])
        contenders = [_unnamed(contender) for contender in contenders]
        if not contenders:
            raise WordsError("--host compares udp and tcp; --transport names neither")
        self._remote = remote = Remote(server, max_time_s=self._max_time_s)
        link = remote_link(server, remote.rtt_s)
        grid = Grid(contenders=tuple(contenders), links=(link,), repeats=words["repeat"], seed=words["seed"])
        return grid, "host", (server.file_name, remote.file_bytes, remote.sha256)


def _unnamed(contender: Contender) -> Contender:
    """The server's TCP, of which we do not know which it is."""
    if contender.transport != "tcp":
        return contender
    return replace(contender, id="tcp", label="TCP (the server's)")


def _congestions(text: str | None) -> list[str]:
    available = available_congestions()
    if text is None:
        return [name for name in _DEFAULT_CONTROLS if name in available] or available[:1]
    return grids.parse_congestions(text, available)


def _file(path: str | None, size_bytes: int) -> tuple[bytes, str]:
    """The file in memory, and its name."""
    if path is None:
        if size_bytes > _LARGEST_BYTES:
            raise WordsError("--size: 1 GiB at most, the file is held in memory")
        return content_of(size_bytes), "made-up bytes"
    try:
        if Path(path).stat().st_size > _LARGEST_BYTES:
            raise LocalError(f"{path}: 1 GiB at most, the file is held in memory")
        return Path(path).read_bytes(), Path(path).name
    except OSError as error:
        raise LocalError(f"{path}: {error.strerror}") from error


@contextmanager
def _terminated() -> Iterator[None]:
    """TERM ends it in order, as Ctrl-C does."""

    def stop(_number: int, _frame: FrameType | None) -> NoReturn:
        raise SystemExit(int(ExitCode.TERMINATED))

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
