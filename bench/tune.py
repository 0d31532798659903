"""The measurements behind our own defaults: the client's window, the floor of the timer, the cap for small receivers.

    python bench/tune.py --json tune.json                            measure and print
    python bench/tune.py --from tune.json --into docs/performance.md put an earlier run into the page

All of it is our client and our server, on the loopback and through the lab's relay. `FLOOR_S` in
`blockstep.protocol.timer` and `WINDOWSIZE_DEFAULT` of the client are chosen by these tables.
"""

from __future__ import annotations

import itertools
import json
import statistics
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from blockstep_lab.relay import Relay
from crowd import logged_sum
from loss import Trip, travel
from parallel import run_all
from report import put_sections, table
from servers import OURS, Kind, Server, ours_with, running
from stage import MIB, Stage, machine_facts, say, staged
from storm import Storm, run_storm

WINDOWS = (1, 4, 8, 16, 32, 64)
LOSSES = (0, 1, 5)
DELAYS_MS = (0, 10)
FLOORS_MS = (5, 10, 20, 50)
CROWDS = (1, 50, 200)
SMALL_QUEUES = (4, 32)
_BLKSIZE = 1428
_FILE_BYTES = {1: MIB, 50: MIB // 4, 200: MIB // 8}
_LIMIT_S = 30.0

Record = dict[str, Any]


def words(delay_ms: float, loss_percent: float) -> str:
    """netem's words for one direction."""
    return " ".join(
        [f"delay {delay_ms:g}ms"] * bool(delay_ms) + [f"loss {loss_percent:g}%"] * bool(loss_percent),
    )


# The window against loss and distance


def measure_windows(stage: Stage, server: Server, seeds: int) -> list[Record]:
    """Times and resent blocks of 1 MiB for every window, loss and delay."""
    records = []
    for delay_ms, loss_percent, window in itertools.product(DELAYS_MS, LOSSES, WINDOWS):
        link = words(delay_ms, loss_percent)
        say(f"window {window}, {link or 'clean'}")
        about = {"delay_ms": delay_ms, "loss_percent": loss_percent, "windowsize": window}
        records.append({**about, **_travel_often(stage, server, window, link=link, link_down=None, seeds=seeds)})
    return records


def measure_small_receivers(stage: Stage, server: Server, seeds: int) -> list[Record]:
    """The same through a receiver's ring that holds a few packets and is emptied at 100 Mbit/s."""
    records = []
    for limit, window in itertools.product(SMALL_QUEUES, (*WINDOWS[1:], 128)):
        say(f"room for {limit} packets, window {window}")
        down = f"rate 100mbit limit {limit}"
        found = _travel_often(stage, server, window, link="", link_down=down, seeds=seeds)
        records.append({"limit": limit, "windowsize": window, **found})
    return records


def _travel_often(stage: Stage, server: Server, window: int, *, link: str, link_down: str | None, seeds: int) -> Record:
    log_before = server.log.stat().st_size
    trip = Trip(
        address=server.address,
        name=stage.file(MIB),
        blksize=_BLKSIZE,
        windowsize=window,
        link=link,
        link_down=link_down,
        seed=0,
        limit_s=_LIMIT_S,
    )
    jobs = [(replace(trip, seed=seed), stage.content(MIB)) for seed in range(seeds)]
    results = run_all(travel, jobs, at_once=1, limit_s=_LIMIT_S + 5)
    server.settle()
    return {
        "seconds": [result["seconds"] if result else None for result in results],
        "resent": logged_sum(server, "resends", log_before) / seeds,
    }


# The floor of the timer


def measure_floors(stage: Stage) -> list[Record]:
    """Time, resends, and how many of those proved needless, for every floor, loss and number of clients."""
    records = []
    for floor_ms in FLOORS_MS:
        with running(_with_floor(floor_ms / 1000), stage.root, stage.logs) as server:
            for loss_percent, clients in itertools.product(LOSSES, CROWDS):
                say(f"floor {floor_ms} ms, loss {loss_percent} %, {clients} clients")
                found = _storm(stage, server, clients, loss_percent=loss_percent, floor_s=floor_ms / 1000)
                about = {"floor_ms": floor_ms, "loss_percent": loss_percent, "clients": clients}
                records.append({**about, **found})
    return records


def _with_floor(floor_s: float) -> Kind:
    """Our server with another floor than the one it ships with."""
    code = (
        "from blockstep.protocol.timer import ResendTimer; "
        f"ResendTimer.__init__.__kwdefaults__['floor_s'] = {floor_s!r}; "
        "from blockstep.cli import main; main()"
    )
    shipped = ours_with()

    def command(program: str, root: Path, address: tuple[str, int]) -> list[str]:
        arguments = list(shipped.command(program, root, address))
        return [program, "-c", code, *arguments[arguments.index("serve") :]]

    return Kind(OURS, sys.executable, command, shipped.version)


def _storm(stage: Stage, server: Server, clients: int, *, loss_percent: float, floor_s: float) -> Record:
    server.settle()
    log_before, size_bytes = server.log.stat().st_size, _FILE_BYTES[clients]
    link = words(0, loss_percent)
    with Relay(server.address, conditions_up=link, conditions_down=link, seed=clients) as relay:
        storm = Storm(
            address=(str(relay.address[0]), int(relay.address[1])) if link else server.address,
            name=stage.file(size_bytes),
            expected=stage.content(size_bytes),
            clients=clients,
            blksize=_BLKSIZE,
            limit_s=_LIMIT_S,
            floor_s=floor_s,
        )
        outcome = run_storm(storm)
    server.settle(_LIMIT_S)
    counted = {name: logged_sum(server, name, log_before) for name in ("blocks", "resends", "needless")}
    return {"seconds": outcome.seconds, "failed": outcome.failed, **counted}


# Tables


def window_table(results: Record) -> str:
    """Median milliseconds, and blocks that were sent again."""
    rows = []
    for delay_ms, loss_percent in itertools.product(DELAYS_MS, LOSSES):
        cells = [
            f"{_median_ms(record)} ({record['resent']:.0f})"
            for record in results["windows"]
            if (record["delay_ms"], record["loss_percent"]) == (delay_ms, loss_percent)
        ]
        rows.append([f"{2 * delay_ms} ms", f"{loss_percent} %", *cells])
    return table(("round trip", "loss", *(f"window {window}" for window in WINDOWS)), rows)


def small_receiver_table(results: Record) -> str:
    """The same for small receivers."""
    windows = [*WINDOWS[1:], 128]
    rows = []
    for limit in SMALL_QUEUES:
        found = [record for record in results["small_receivers"] if record["limit"] == limit]
        rows.append([str(limit), *(f"{_median_ms(record)} ({record['resent']:.0f})" for record in found)])
    return table(("room for packets", *(f"window {window}" for window in windows)), rows)


def _median_ms(record: Record) -> str:
    times = [float("inf") if each is None else each for each in record["seconds"]]
    middle = statistics.median_high(times)
    return f"> {_LIMIT_S:g} s" if middle == float("inf") else f"{1000 * middle:.0f}"


def floor_table(results: Record) -> str:
    """Milliseconds until the last client is done / resends / of these needless."""
    rows = []
    for loss_percent, clients in itertools.product(LOSSES, CROWDS):
        found = [
            record
            for record in results["floors"]
            if (record["loss_percent"], record["clients"]) == (loss_percent, clients)
        ]
        cells = [f"{1000 * each['seconds']:.0f} / {each['resends']} / {each['needless']}" for each in found]
        rows.append([f"{loss_percent} %", str(clients), *cells])
    return table(("loss", "clients", *(f"{floor} ms" for floor in FLOORS_MS)), rows)


def sections(results: Record) -> dict[str, str]:
    """By the names of the marks in docs/performance.md."""
    facts = results["machine"]
    machine = f"{facts['time']}, {facts['cpu']}, {facts['processors']} processors, {results['seeds']} seeds."
    return {
        "tune-machine": machine,
        "windows": window_table(results),
        "floors": floor_table(results),
        "small-receivers": small_receiver_table(results),
    }


def measure(seeds: int) -> Record:
    """Everything."""
    facts = machine_facts()
    with (
        staged(minutes=60, only=[OURS]) as stage,
        running(ours_with("--windowsize-max", "128"), stage.root, stage.logs) as server,
    ):
        return {
            "machine": facts,
            "seeds": seeds,
            "windows": measure_windows(stage, server, seeds),
            "small_receivers": measure_small_receivers(stage, server, seeds),
            "floors": measure_floors(stage),
        }


@click.command()
@click.option("--seeds", type=click.IntRange(1, 99), default=3, show_default=True, help="Runs of each combination.")
@click.option("--json", "json_path", type=click.Path(dir_okay=False, path_type=Path), help="Write the results here.")
@click.option("--from", "earlier", type=click.Path(exists=True, path_type=Path), help="Show an earlier run.")
@click.option("--into", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="A page with marks.")
def main(seeds: int, json_path: Path | None, earlier: Path | None, into: Path | None) -> None:
    """Measure what our defaults are chosen by."""
    results = json.loads(earlier.read_text()) if earlier else measure(seeds)
    if json_path is not None:
        json_path.write_text(json.dumps(results, indent=1) + "\n")
    if into is not None:
        into.write_text(put_sections(into.read_text(), sections(results)))
    else:
        click.echo("\n\n".join(f"## {name}\n\n{text}" for name, text in sections(results).items()))


if __name__ == "__main__":
    main()
