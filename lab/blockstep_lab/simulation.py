"""Whole transfers on virtual time: one plan and one link, run as often as wanted, each run replayable from its seed.

    runs = run_all(Scenario(plan, up, down), seed=7, count=1000)
    Distribution.of([run.seconds for run in runs if run.failure is None])

Decided here: what is counted, and that run i has the seed `seed` + i, so that `--seed 7 -n 1000` and `--seed 23 -n 1`
tell the same story of run 16. Runs share nothing, so they are spread over the processors. Not known here: words and
tables.
"""

from __future__ import annotations

import math
import multiprocessing
import os
import signal
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from random import Random

from blockstep.protocol.errors import End, LocalError, TransferFailed
from blockstep.protocol.options import WINDOWSIZE_LARGEST, Limits
from blockstep.protocol.wire import Opcode
from blockstep_lab.conditions import Conditions
from blockstep_lab.drivers import ReceiveDriver
from blockstep_lab.parties import LISTENER, Client, Listener, Party, Plan
from blockstep_lab.rules import Rule
from blockstep_lab.simnet import SimLink, SimNet, SimulationEndless

__all__ = ["GENEROUS", "Distribution", "Run", "Scenario", "content_of", "run_all", "run_once"]

GENEROUS = Limits(windowsize_max=WINDOWSIZE_LARGEST, in_flight_max_bytes=1 << 40)
"""A server that grants whatever is asked, so that what one asks for is what one measures."""

# A run may need this many events for a block before it counts as endless; a lock-step block without trouble needs 2.
_EVENTS_FOR_A_BLOCK = 200
_EVENTS_AT_LEAST = 200_000
_LONGEST_S = 1e9
# Fewer events than this are run in this process: another would cost more than it brings.
_WORTH_A_PROCESS = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """What is run: both sides' plan and the link between them; `up` is from client to server."""

    plan: Plan
    up: Conditions
    down: Conditions
    rules: tuple[Rule, ...] = ()

    @property
    def blocks(self) -> int:
        """How many blocks the file has, if the block size that is asked for is granted."""
        return len(self.plan.content) // (self.plan.wanted.blksize or 512) + 1


@dataclass(frozen=True, slots=True)
class Run:
    """What came of one transfer.

    `seconds` is virtual time from the request until the client knew that the file is whole (get: received; put: the
    server's last ACK), None for a failure, which `failure` describes. `resends` counts requests, DATA and ACK packets
    that went out again on either side, `timeouts` the timers that ran out, `needless` resends that both sides could
    have done without, `packets` all that were sent and `lost` those that the link took. `events` is the simulation's
    own count.
    """

    seed: int
    seconds: float | None
    failure: str | None
    resends: int
    timeouts: int
    needless: int
    packets: int
    lost: int
    events: int


def content_of(size_bytes: int) -> bytes:
    """A file of this size; blocks of no usual size are alike within a megabyte of it."""
    piece = Random("blockstep").randbytes(min(size_bytes, 1_048_583))  # a prime
    return (piece * (size_bytes // max(len(piece), 1) + 1))[:size_bytes]


def run_once(scenario: Scenario, seed: int) -> Run:
    """One transfer from beginning to end."""
    most = max(_EVENTS_AT_LEAST, scenario.blocks * _EVENTS_FOR_A_BLOCK)
    net = SimNet(seed, max_events=most, max_virtual_s=_LONGEST_S, trace_limit=0)
    link = net.link("client", "server", up=scenario.up, down=scenario.down, rules=scenario.rules)
    listener = net.attach(LISTENER, lambda send: Listener(send, net, scenario.plan))
    client = net.attach(("client", 0), lambda send: Client(send, scenario.plan))
    try:
        net.run()
    except SimulationEndless:
        return _told(net, link, [client, *listener.parties], f"no end after {net.now:.0f} s")
    return _told(net, link, [client, *listener.parties], _failure(scenario.plan, client, listener))


def _told(net: SimNet, link: SimLink, parties: Sequence[Party], failure: str | None) -> Run:
    client = parties[0]
    machines = [party.driver.machine for party in parties if party.driver is not None]
    asked_again = client.opening.resends if isinstance(client, Client) else 0
    lost = (counters.lost + counters.tail_dropped for counters in (link.up.counters, link.down.counters))
    return Run(
        seed=int(net.seed),
        seconds=client.delivered_at if failure is None else None,
        failure=failure,
        resends=asked_again + sum(machine.stats.resends for machine in machines),
        timeouts=asked_again + sum(machine.stats.timeouts for machine in machines),
        needless=sum(machine.stats.needless for machine in machines),
        packets=sum(party.sent for party in parties),
        lost=sum(lost),
        events=net.events,
    )


def _failure(plan: Plan, client: Client, listener: Listener) -> str | None:
    """Why the client does not have, or has not delivered, the file; None where all is well."""
    error = client.error
    if isinstance(error, TransferFailed) and error.end is End.PEER_ERROR:
        return f"the server said ERROR {error.code}: {error}"
    if error is not None:
        return str(error)
    receiving = client if plan.opcode is Opcode.RRQ else listener.current
    driver = receiving.driver if receiving is not None else None
    if not isinstance(driver, ReceiveDriver) or not driver.committed:
        return "the file never became whole"
    return None if driver.received == plan.content else "the file arrived with other bytes"


def run_all(scenario: Scenario, seed: int, count: int, *, processes: int | None = None) -> Iterator[Run]:
    """`count` transfers with the seeds from `seed` on, in no particular order; `processes` None: as many as pay."""
    seeds = range(seed, seed + count)
    run = partial(run_once, scenario)
    processors = len(os.sched_getaffinity(0)) if processes is None else processes
    events = 2 * scenario.blocks * count
    if min(processors, count) < 2 or (processes is None and events < _WORTH_A_PROCESS):
        yield from map(run, seeds)
        return
    chunk = max(1, min(50, count // (4 * processors)))
    # Left early, by an error or a Ctrl-C, the pool ends its processes.
    with multiprocessing.get_context("fork").Pool(min(processors, count), _leave_signals_to_the_parent) as pool:
        yield from pool.imap_unordered(run, seeds, chunk)


def _leave_signals_to_the_parent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@dataclass(frozen=True, slots=True)
class Distribution:
    """Five points of a sample; every one is a value that occurred (nearest rank)."""

    least: float
    median: float
    p90: float
    p99: float
    most: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Distribution:
        """From at least one value, else LocalError."""
        ranked = sorted(values)
        if not ranked:
            raise LocalError("nothing has no distribution")
        points = (ranked[max(0, math.ceil(part * len(ranked)) - 1)] for part in (0, 0.5, 0.9, 0.99, 1))
        return cls(*points)
