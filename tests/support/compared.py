"""Made-up comparisons with known numbers, for tests of what is computed and said about them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from blockstep_lab.compare.campaign import Campaign
from blockstep_lab.compare.grid import Grid, Order, contenders_of, grid_links
from blockstep_lab.compare.outcome import Observed
from blockstep_lab.compare.results import OK, CompareResult, Contender, LinkSpec, Method, Run, TimeSequence
from blockstep_lab.conditions import Rate

__all__ = ["FILE_BYTES", "a_run", "contender", "grid", "link", "method", "observed", "record"]

FILE_BYTES = 1_000_000

METHOD = Method(
    where="namespaces",
    host=None,
    command=("blockstep", "compare", "--seed", "7"),
    grid="",
    seed="7",
    repeats=3,
    file_name="made-up bytes",
    file_bytes=FILE_BYTES,
    file_sha256="0" * 64,
    max_time_s=20.0,
    started_at="2026-01-01T00:00:00+00:00",
    elapsed_s=12.0,
    blockstep="0",
    python="3",
    kernel="Linux",
    cpu="made-up",
    processors=2,
    carrier="tun",
    scheduler="SCHED_FIFO 50",
    link_mtu=1500,
)


def contender(contender_id: str) -> Contender:
    """`udp-w16-b1428`, `tcp-bbr`, `unix`, `loopback-tcp`."""
    windows = [1, 16, 64]
    known = contenders_of(["udp", "tcp", "unix", "loopback"], windows, [1428], ["cubic", "bbr", "reno"])
    return {each.id: each for each in known}[contender_id]


def link(loss: float = 0.0, delay_ms: float = 5.0, rate: str | None = "50mbit") -> LinkSpec:
    """A link of the grid; `loss` in percent."""
    bits = None if rate is None else Rate(int(rate.removesuffix("mbit")) * 10**6)
    return grid_links([loss], [int(delay_ms * 1e6)], bits)[0]


def grid(contenders: Sequence[str], links: Sequence[LinkSpec], *, repeats: int = 3) -> Grid:
    """These against each other."""
    return Grid(contenders=tuple(map(contender, contenders)), links=tuple(links), repeats=repeats, seed="7")


def method(of: Grid, **changes: Any) -> Method:
    """A method that fits the grid."""
    return replace(METHOD, repeats=of.repeats, grid=of.digest(), **changes)


def a_run(order: Order, goodput_bit_s: float, /, **changes: Any) -> Run:
    """A good run with this goodput."""
    contender_id, link_id, repeat = order.key
    run = Run(
        contender=contender_id,
        link=link_id,
        repeat=repeat,
        seed=order.seed,
        state=OK,
        reason=None,
        goodput_bit_s=goodput_bit_s,
        total_s=FILE_BYTES * 8 / goodput_bit_s,
        first_byte_s=0.02,
        longest_stall_s=0.01,
        file_bytes=FILE_BYTES,
        wire_bytes=FILE_BYTES * 11 // 10,
        wire_packets=1000,
        resends=0,
        timeouts=0,
        cpu_sender_s=0.01,
        cpu_receiver_s=0.02,
        sha256="0" * 64,
        measured_loss=0.0,
        late_p99_s=0.0001,
        ring_drops=0,
        attempts=1,
    )
    return replace(run, **changes)


def observed(order: Order, goodput_bit_s: float, /, **changes: Any) -> Observed:
    """The same with a course."""
    contender_id, link_id, repeat = order.key
    sequence = TimeSequence(
        contender=contender_id,
        link=link_id,
        repeat=repeat,
        state=OK,
        points=((0.02, 1428), (0.1, FILE_BYTES)),
        resends=(),
        resends_total=0,
    )
    return Observed(a_run(order, goodput_bit_s, **changes), sequence)


def record(of: Grid, goodputs: dict[tuple[str, str], float], **changes: Any) -> CompareResult:
    """A comparison in which (contender id, link id) had this goodput; each repeat is half a percent faster.

    `changes` are fields of all runs, or of those of one contender: `{"udp-w16-b1428": {"resends": 5}}` as `only`.
    """
    only: dict[str, dict[str, Any]] = changes.pop("only", {})
    campaign = Campaign(of, method(of))
    for order in of.orders():
        goodput = goodputs.get((order.contender.id, order.link.id))
        if goodput is not None:
            each = {**changes, **only.get(order.contender.id, {})}
            campaign.add(observed(order, goodput * (1 + order.repeat / 200), **each))
    return campaign.result()
