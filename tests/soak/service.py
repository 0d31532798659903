"""The real server under real clients for half an hour: `sudo .venv/bin/python tests/soak/service.py --minutes 30`.

Fifty clients at a time, ours over UDP and TCP and every foreign one that is installed, read and write through the lab's
bad link (network namespaces, so TCP is hit like UDP). Now and then a client or a child of the server is killed, where
it stands. Said at the end, and written as JSON: what became of the errands by client, whether any file was wrong, what
the server left behind, and the supervisor's memory second by second. The exit status is 1 if anything was wrong.

Memory is a matter of long runs: the interpreter's heap takes about three thousand transfers to find its size.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
ROOMS = [str(REPOSITORY / room) for room in ("tftp", "server", "client", "lab", "tests", "bench")]
sys.path[:0] = ROOMS

import click  # noqa: E402 - after the path

import procfs  # noqa: E402
from blockstep.transport.atomic import HIDDEN_PREFIX  # noqa: E402
from blockstep_lab.netns.host import Host  # noqa: E402
from blockstep_lab.netns.lab import Lab  # noqa: E402
from soak.curve import slope, sparkline  # noqa: E402
from soak.errands import Errand, Verdict, World, draw, is_torn, judge  # noqa: E402
from soak.sampling import Sample, read_samples, sampled  # noqa: E402

_UDP_PORT, _TCP_PORT = 6969, 6970
_PATIENCE_S = 60.0
_TURN_S = 0.02
_CHILD_KILLED_EVERY_S = 2.0
_CLIENT_KILLED = 0.08
# A silent peer is given up within 30 s; what was begun last needs that long to be forgotten.
_SETTLE_S = 60.0
# Memory is flat if, after the first fifth of the time, it grows by less in an hour, or by next to nothing at all.
_GROWTH_KIB_PER_HOUR = 1024.0
_GROWTH_LEAST_KIB = 512
_OUT = REPOSITORY / ".soak"


@dataclass(slots=True)
class Running:
    """A client at work. `dies_at` None: it may live."""

    errand: Errand
    process: subprocess.Popen[bytes]
    started_s: float
    dies_at: float | None
    said: Path


@dataclass(slots=True)
class Tally:
    """What has been seen so far."""

    verdicts: dict[str, Counter[str]] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    children_killed: int = 0
    moved_bytes: int = 0

    def note(self, errand: Errand, verdict: Verdict, said: bytes) -> None:
        """One errand is over, and what its program has said."""
        self.verdicts.setdefault(errand.client, Counter())[verdict.value] += 1
        if verdict is Verdict.WRONG:
            self.wrong.append(f"{' '.join(errand.argv)} claims success and says {said[-500:]!r}")


@click.command()
@click.option("--minutes", type=click.FloatRange(0, min_open=True), default=30.0, show_default=True)
@click.option("--clients", type=click.IntRange(1), default=50, show_default=True, help="At one time.")
@click.option("--link", default="delay 1ms loss 2%", show_default=True, help="In netem's words, each way.")
@click.option("--seed", type=int, default=None, help="Of errands, kills and the link [default: by the clock].")
@click.option("--output", type=click.Path(path_type=Path), default=_OUT / "service.json", show_default=True)
def main(minutes: float, clients: int, link: str, seed: int | None, output: Path) -> None:
    """Let real clients loose on a real server through a bad link."""
    seed = int(time.time()) if seed is None else seed
    output.parent.mkdir(parents=True, exist_ok=True)
    click.echo(f"seed {seed}, {clients} clients, {minutes:g} minutes, link {link!r}")
    with tempfile.TemporaryDirectory(prefix="blockstep-soak-") as name, Lab(link, link, seed=seed) as lab:
        folder = Path(name)
        world = World(folder / "root", folder / "clients", lab.right.address, _UDP_PORT, _TCP_PORT)
        for each in (folder, world.root, world.folder):
            each.mkdir(exist_ok=True)
            each.chmod(0o777)
        world.make_files(seed)
        with _served(lab.right, world, folder / "log") as server:
            soak = _Soak(lab.left, world, server.pid, random.Random(f"soak/{seed}"))
            with sampled(server.pid, output.with_suffix(".csv")):
                soak.run(clients, minutes * 60)
                left = soak.settle()
        left |= _after_the_end(server, world)
        crashed = _unexpected(folder / "log", soak.tally.children_killed)
    samples = read_samples(output.with_suffix(".csv"))
    found = _summed_up(soak.tally, samples, left, crashed) | {"seed": seed, "link": link, "minutes": minutes}
    output.write_text(json.dumps(found, indent=1))
    _say(found, output)
    sys.exit(int(bool(found["broken"])))


@contextmanager
def _served(host: Host, world: World, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    listen = ["-b", f"{host.address}:{_UDP_PORT}", "--tcp", f"{host.address}:{_TCP_PORT}"]
    argv = [sys.executable, "-m", "blockstep", "serve", str(world.root), *listen, "--upload", "replace"]
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(ROOMS)}
    with log.open("wb") as stream:
        server = host.popen([*argv, "--log-format", "json"], stderr=stream, env=environ)
    try:
        if not procfs.wait_until(lambda: b'"ready"' in log.read_bytes() or server.poll() is not None, 10.0):
            raise click.ClickException("the server does not get ready")
        if server.poll() is not None:
            raise click.ClickException(f"the server has ended: {log.read_text()}")
        yield server
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(60)


class _Soak:
    """The clients of one run."""

    def __init__(self, host: Host, world: World, server_pid: int, chance: random.Random) -> None:
        self.tally = Tally()
        self._host = host
        self._world = world
        self._server = server_pid
        self._chance = chance
        self._running: list[Running] = []
        self._unsettled: list[Errand] = []
        self._number = 0
        self._descriptors = procfs.descriptors(server_pid)
        self._began_s = time.monotonic()

    def run(self, clients: int, seconds: float) -> None:
        """Keep so many at work for so long, then let the last ones end."""
        killed_at = 0.0
        while (now := time.monotonic() - self._began_s) < seconds or self._running:
            while now < seconds and len(self._running) < clients:
                self._begin(now)
            self._look_after(now)
            if now >= killed_at:
                killed_at = now + _CHILD_KILLED_EVERY_S
                self._kill_a_child()
            time.sleep(_TURN_S)

    def settle(self) -> dict[str, int]:
        """What the server still holds when it has had time to give up whom we killed."""
        procfs.wait_until(lambda: not procfs.children(self._server), _SETTLE_S)
        torn = [errand for errand in self._unsettled if is_torn(errand)]
        self.tally.wrong += [f"torn upload: {' '.join(errand.argv)}" for errand in torn]
        return {
            "children": len(procfs.children(self._server)),
            "zombies": procfs.zombies(self._server),
            "descriptors": procfs.descriptors(self._server) - self._descriptors,
        }

    def _begin(self, now: float) -> None:
        self._number += 1
        errand = draw(self._world, self._chance, self._number)
        dies_at = now + 1.5 * self._chance.random() if self._chance.random() < _CLIENT_KILLED else None
        said = self._world.folder / f"said-{self._number}"
        environ = {**os.environ, "PYTHONPATH": os.pathsep.join(ROOMS)}
        with said.open("wb") as stream:
            process = self._host.popen(
                errand.argv, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream, env=environ, cwd=self._world.folder
            )
        self._running.append(Running(errand, process, now, dies_at, said))

    def _look_after(self, now: float) -> None:
        for running in list(self._running):
            status = running.process.poll()
            if status is not None:
                self._end(running, judge(running.errand, status, running.said.read_bytes()))
            elif running.dies_at is not None and now >= running.dies_at:
                self._kill(running, Verdict.KILLED)
            elif now - running.started_s > _PATIENCE_S:
                self._kill(running, Verdict.OUT_OF_TIME)

    def _kill(self, running: Running, verdict: Verdict) -> None:
        running.process.kill()
        running.process.wait()
        self._end(running, verdict)

    def _end(self, running: Running, verdict: Verdict) -> None:
        errand = running.errand
        self._running.remove(running)
        self.tally.note(errand, verdict, running.said.read_bytes())
        for path in (running.said, errand.local):
            path.unlink(missing_ok=True)
        if verdict is Verdict.DONE and errand.is_put:
            errand.remote.unlink()
        elif errand.is_put:
            self._unsettled.append(errand)

    def _kill_a_child(self) -> None:
        """By a descriptor of the process, looked at again: its number may be another's by now."""
        children = procfs.children(self._server)
        if not children:
            return
        with contextlib.suppress(ProcessLookupError):
            descriptor = os.pidfd_open(pid := self._chance.choice(children))
            try:
                if pid in procfs.children(self._server):
                    signal.pidfd_send_signal(descriptor, signal.SIGKILL)
                    self.tally.children_killed += 1
            finally:
                os.close(descriptor)


def _after_the_end(server: subprocess.Popen[bytes], world: World) -> dict[str, int]:
    """What is left when the server has been told to stop."""
    temporaries = list(world.root.rglob(HIDDEN_PREFIX + "*"))
    return {"temporaries": len(temporaries), "exit_status": server.returncode}


def _unexpected(log: Path, killed: int) -> list[str]:
    """Lines of the log that tell of crashes which were not ours."""
    events: list[dict[str, Any]] = []
    strange = []
    for line in log.read_text().splitlines():
        try:
            events.append(json.loads(line))
        except ValueError:
            strange.append(line)
    crashed = [event for event in events if event.get("result") == "crashed"]
    by_us = [event for event in crashed if "signal 9" in event["detail"]]
    strange += [json.dumps(event) for event in crashed if event not in by_us]
    if len(by_us) > killed:
        strange.append(f"{len(by_us)} children were killed, {killed} of them by us")
    return strange


def _summed_up(tally: Tally, samples: list[Sample], left: dict[str, int], crashed: list[str]) -> dict[str, Any]:
    steady = [sample for sample in samples if sample.seconds > samples[-1].seconds / 5]
    per_hour = slope([(sample.seconds / 3600, sample.memory_kib) for sample in steady])
    grown = steady[-1].memory_kib - steady[0].memory_kib
    broken = [*tally.wrong, *crashed, *(f"left: {count} {what}" for what, count in left.items() if count)]
    if per_hour > _GROWTH_KIB_PER_HOUR and grown > _GROWTH_LEAST_KIB:
        broken.append(f"the supervisor's memory grows by {per_hour:.0f} KiB an hour")
    return {
        "broken": broken,
        "errands": {name: dict(counts) for name, counts in sorted(tally.verdicts.items())},
        "children_killed": tally.children_killed,
        "most_children": max(sample.children for sample in samples),
        "left": left,
        "memory_slope_kib_per_hour": round(per_hour, 1),
        "samples": samples,
    }


def _say(found: dict[str, Any], output: Path) -> None:
    columns = [verdict.value for verdict in Verdict]
    click.echo(f"{'':20}" + "".join(f"{column:>13}" for column in columns))
    for name, counts in found["errands"].items():
        click.echo(f"{name:20}" + "".join(f"{counts.get(column, 0):13}" for column in columns))
    values = [sample.memory_kib for sample in found["samples"]]
    click.echo(f"children killed {found['children_killed']}, most at one time {found['most_children']}")
    click.echo(f"memory of the supervisor: {min(values)} to {max(values)} KiB")
    click.echo(f"  {sparkline(values)} {found['memory_slope_kib_per_hour']:+g} KiB an hour after the first fifth")
    click.echo(f"left: {found['left']}; everything is in {output}")
    for complaint in found["broken"]:
        click.echo(f"BROKEN: {complaint}")


if __name__ == "__main__":
    main()
