"""A file through a bad link: 1 MiB through seeded loss, each way.

The link is the lab's relay, so packet n of a direction has the same fate for every server at one seed. A server that
is slow here is slow because it waits for a timer of its own, which costs nobody anything; so all get a short try first,
one after the other, and those who do not make it in that time get their full time together with the other slow ones.
"""

from __future__ import annotations

import itertools
import time
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from blockstep.protocol.errors import TftpError
from blockstep_lab.relay import Relay
from fast_client import CheckingSink, Request, fetch
from parallel import run_all
from stage import MIB, Stage, say

SIZE_BYTES = MIB
LIMIT_S = 20.0
_SHORT_TRY_S = 3.0
_SLOW_AT_ONCE = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Trip:
    """A transfer through the relay. `link` is netem's words for each way, `link_down` other ones to the client."""

    address: tuple[str, int]
    name: str
    blksize: int
    windowsize: int
    link: str
    link_down: str | None = None
    seed: int
    limit_s: float = LIMIT_S


def travel(trip: Trip, content: bytes) -> dict[str, Any]:
    """Make the trip: `seconds` (None if it did not end well), what was granted, and counters or the `error`."""
    sink = CheckingSink(content)
    started_s = time.monotonic()
    try:
        with Relay(
            trip.address,
            conditions_up=trip.link,
            conditions_down=trip.link if trip.link_down is None else trip.link_down,
            seed=trip.seed,
            idle_s=2 * trip.limit_s,
        ) as relay:
            request = Request(
                address=(str(relay.address[0]), int(relay.address[1])),
                name=trip.name,
                blksize=trip.blksize,
                windowsize=trip.windowsize,
                max_time_s=trip.limit_s,
            )
            fetched = fetch(request, sink)
    except (TftpError, OSError) as error:
        late = time.monotonic() - started_s >= trip.limit_s - 0.1
        return {"seconds": None, "error": "" if late else str(error)}
    if sink.wrong:
        return {"seconds": None, "error": "wrong bytes"}
    return {
        "seconds": fetched.seconds,
        "granted": [fetched.agreed.blksize, fetched.agreed.windowsize],
        "acks_resent": fetched.stats.resends,
        "blocks_doubled": fetched.stats.duplicates,
    }


def measure(stage: Stage, *, seeds: int, blksizes: list[int], windows: list[int]) -> list[dict[str, Any]]:
    """A record for each combination: what it was, and for each server one result for each seed."""
    name, content = stage.file(SIZE_BYTES), stage.content(SIZE_BYTES)
    records = []
    for loss_percent, windowsize, blksize in itertools.product((1.0, 5.0), windows, blksizes):
        what = f"loss {loss_percent:g} %, blksize {blksize}, windowsize {windowsize}"
        if not stage.has_time_for(what):
            continue
        say(what)
        trip = partial(Trip, name=name, blksize=blksize, windowsize=windowsize, link=f"loss {loss_percent:g}%")
        trips = {
            server.name: [trip(address=server.address, seed=seed) for seed in range(seeds)] for server in stage.servers
        }
        record = {"loss_percent": loss_percent, "blksize": blksize, "windowsize": windowsize, "limit_s": LIMIT_S}
        records.append({**record, "servers": _run(trips, content)})
    return records


def _run(trips: dict[str, list[Trip]], content: bytes) -> dict[str, list[dict[str, Any]]]:
    """The quick servers take turns, the slow ones wait together."""
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in trips}
    slow: set[str] = set()
    for turn in range(max(map(len, trips.values()))):
        for name, own in trips.items():
            if name in slow:
                continue
            short = replace(own[turn], limit_s=_SHORT_TRY_S)
            result = run_all(travel, [(short, content)], at_once=1, limit_s=short.limit_s + 5)[0]
            if result is None or result["seconds"] is None:
                slow.add(name)
            found[name].append(result)
    jobs = [(name, trip) for name in slow for trip in trips[name]]
    results = run_all(travel, [(trip, content) for _, trip in jobs], at_once=_SLOW_AT_ONCE, limit_s=LIMIT_S + 5)
    for name in slow:
        found[name] = [
            result or {"seconds": None, "error": "no result"}
            for (job, _), result in zip(jobs, results, strict=True)
            if job == name
        ]
    return found
