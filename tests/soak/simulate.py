"""The simulated soak: worlds from one seed after another, on all processors, until the time or the seeds are used up.

`make soak` runs it for an hour. What is found is printed with its seed and the command that tells that one again,
packet by packet; the exit status is then 1.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Iterator
from itertools import count, islice
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / room) for room in ("tftp", "server", "client", "lab", "tests")]

import click  # noqa: E402 - after the path

from soak.rules import broken  # noqa: E402
from soak.world import told  # noqa: E402

_CHUNK = 100
_SAY_EVERY_S = 60.0
_SHOWN = 10


@click.command()
@click.option("--seeds", type=click.IntRange(1), help="How many [default: as many as fit into --minutes].")
@click.option("--minutes", type=click.FloatRange(0, min_open=True), default=60.0, show_default=True)
@click.option("--first", type=click.IntRange(0), default=None, help="The first seed [default: by the clock].")
@click.option("--seed", type=click.IntRange(0), help="Only this one, with every packet.")
@click.option("--processes", type=click.IntRange(1), default=len(os.sched_getaffinity(0)), show_default=True)
def main(seeds: int | None, minutes: float, first: int | None, seed: int | None, processes: int) -> None:
    """Simulate transfers, crashes and forged requests, and check what must hold."""
    if os.environ.get("PYTHONHASHSEED") != "0":  # the table of who has asked is one of hashes
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, "PYTHONHASHSEED": "0"})
    if seed is not None:
        sys.exit(_explain(seed))
    # A number that is new every time; with a count of seeds, so a gate, the same ones every time.
    start = first if first is not None else 0 if seeds is not None else int(time.time()) * 1000
    sys.exit(_run(start, seeds, minutes * 60, processes))


def _run(first: int, seeds: int | None, limit_s: float, processes: int) -> int:
    begun_s = said_s = time.monotonic()
    done = events = found = 0
    chunks = _chunks(first, seeds)
    click.echo(f"from seed {first} on, {processes} processes")
    with multiprocessing.get_context("fork").Pool(processes, _leave_signals_to_the_parent) as pool:
        # Handed out a few at a time: imap would take an endless row whole.
        while batch := list(islice(chunks, 4 * processes)):
            for seen, happened, complaints in pool.imap_unordered(_tell_chunk, batch):
                done, events, found = done + seen, events + happened, found + len(complaints)
                for seed, complaint in complaints[:_SHOWN]:
                    click.echo(f"seed {seed}: {complaint}\n  repeat it: {_command(seed)}")
            now = time.monotonic()
            if now - said_s > _SAY_EVERY_S:
                said_s = now
                click.echo(f"{done} worlds, {found} bad, {done / (now - begun_s):.0f} a second")
            if seeds is None and now - begun_s > limit_s:
                break
    took_s = time.monotonic() - begun_s
    click.echo(f"{done} worlds, {events} events, {took_s:.1f} s, {done / took_s:.0f} worlds a second: {found} bad")
    return int(found > 0)


def _chunks(first: int, seeds: int | None) -> Iterator[range]:
    for start in count(first, _CHUNK):
        last = start + _CHUNK if seeds is None else min(start + _CHUNK, first + seeds)
        if start >= last:
            return
        yield range(start, last)


def _leave_signals_to_the_parent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _tell_chunk(seeds: range) -> tuple[int, int, list[tuple[int, str]]]:
    """(worlds, events, what was wrong)"""
    events = 0
    complaints: list[tuple[int, str]] = []
    for seed in seeds:
        try:
            world = told(seed)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is a finding
            complaints.append((seed, f"{type(error).__name__}: {str(error)[:500]}"))
            continue
        events += world.net.events
        complaints += [(seed, complaint) for complaint in broken(world)]
    return len(seeds), events, complaints


def _explain(seed: int) -> int:
    world = told(seed, trace_limit=5000)
    for host, link in world.links.items():
        click.echo(f"{host}: up {link.up.counters} down {link.down.counters}")
    for address, client in world.clients:
        click.echo(f"{address}: {client.plan.opcode.name} {client.plan.name} {client.plan.wanted} {client.fate}")
        click.echo(f"  {'succeeded' if client.succeeded else client.client.error or 'died'}")
    click.echo(f"{world.habits}")
    click.echo(world.net.format_trace())
    complaints = broken(world)
    for complaint in complaints:
        click.echo(complaint)
    click.echo("something is wrong" if complaints else "nothing is wrong with it")
    return int(bool(complaints))


def _command(seed: int) -> str:
    return f"{sys.executable} tests/soak/simulate.py --seed {seed}"


if __name__ == "__main__":
    main()
