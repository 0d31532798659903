"""The record of a comparison: one JSON file from which every table, chart and sentence is made.

Decided here: the names and units of everything that is kept. Times are seconds, sizes bytes, rates bits per second of
the *file* (goodput), loss a share from 0 to 1; what is not known is null. `runs` is what was measured, and all that
`--resume` needs; `cells`, `lines`, `findings` and `summary` are computed from it. Not known here: measuring and
computing.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from blockstep.protocol.errors import LocalError
from blockstep_lab.compare.decoding import decode_untrusted
from blockstep_lab.compare.whole import write_whole

__all__ = [
    "FAILED",
    "LOCAL",
    "MAX_TIME",
    "OK",
    "SCHEMA",
    "VOID",
    "Cell",
    "CompareResult",
    "Contender",
    "Finding",
    "Interval",
    "LinkSpec",
    "Method",
    "Run",
    "TheoryLine",
    "TimeSequence",
]

SCHEMA = 1

OK = "ok"
"""The file arrived whole and the run's self-checks passed."""
VOID = "void"
"""A self-check failed: there is no number."""
MAX_TIME = "max-time"
"""The time was over before the file was; its goodput is what had arrived by then."""
FAILED = "failed"
"""The transfer ended without the file, or with other bytes."""

LOCAL = "local"
"""The id of the link of the ceilings: this machine alone, without a link."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """A way to send the file. `id` is short and stable (`udp-w16-b1428`, `tcp-cubic`, `unix`), `label` for people.

    `transport` is `udp`, `tcp` or `unix`. `windowsize` is None for streams, `congestion` None for all but TCP (and
    `"?"` where the server's is not known). A `ceiling` runs on the link `LOCAL` only. `simulated`: on virtual time.
    """

    id: str
    label: str
    transport: str
    blksize: int
    windowsize: int | None
    congestion: str | None
    ceiling: bool
    simulated: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkSpec:
    """A link, and what theory needs to know of it. `up` and `down` are netem's words (up: client to server).

    `loss` is the share of packets that are lost on the way of the file, `loss_back` on the way of its ACKs. `delay_s`
    is one way, the mean of both; `rtt_s` there and back, without queue and jitter. `rate_bit_s` is the bottleneck's on
    the way of the file, None: none. `regular` is true where loss is independent from packet to packet and delay steady,
    as theory assumes. Where the link is not ours (`--host`) all are None but `rtt_s`, which was measured.
    """

    id: str
    label: str
    up: str
    down: str
    loss: float | None
    loss_back: float | None
    delay_s: float | None
    rtt_s: float | None
    rate_bit_s: int | None
    regular: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One transfer. `contender` and `link` are ids; `repeat` counts from 0; `seed` is what the link's fates come from.

    `goodput_bit_s` is `file_bytes` (those that arrived) over `total_s` (request to the last byte in its place).
    `first_byte_s` from the request on. `longest_stall_s` is the longest time without a byte in between. `wire_bytes`
    are IP packets both ways, `wire_packets` their number. `resends` are DATA blocks (UDP) or segments (TCP) sent again.
    `cpu_*_s` are user and system time of each side's process. `sha256` is of what arrived, None without all of it.
    The link's own checks: `measured_loss` (share, on the way of the file), `late_p99_s`, `ring_drops`. `attempts`
    counts the tries until a run was not void.
    """

    contender: str
    link: str
    repeat: int
    seed: str
    state: str
    reason: str | None
    goodput_bit_s: float | None
    total_s: float | None
    first_byte_s: float | None
    longest_stall_s: float | None
    file_bytes: int
    wire_bytes: int | None
    wire_packets: int | None
    resends: int | None
    timeouts: int | None
    cpu_sender_s: float | None
    cpu_receiver_s: float | None
    sha256: str | None
    measured_loss: float | None
    late_p99_s: float | None
    ring_drops: int | None
    attempts: int


@dataclass(frozen=True, slots=True)
class Interval:
    """A median with its 95 % bootstrap interval; all three are alike where there was one run."""

    median: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One contender on one link, over all repeats.

    `state` is that of most runs: `ok`, `void`, `max-time` (then `goodput_bit_s` is of what arrived in time) or
    `failed`; only `ok` and `max-time` have numbers. `valid` of `runs` were not void. `overhead` is wire bytes over file
    bytes, less 1. `cpu_*_s_per_gb` are CPU seconds for 10^9 bytes of file. `theory` maps names of laws
    (see docs/theory.md) to the goodput that they predict here.
    """

    contender: str
    link: str
    state: str
    reason: str | None
    runs: int
    valid: int
    goodput_bit_s: Interval | None
    total_s: Interval | None
    first_byte_s: Interval | None
    longest_stall_s: Interval | None
    overhead: Interval | None
    resends: Interval | None
    cpu_sender_s_per_gb: Interval | None
    cpu_receiver_s_per_gb: Interval | None
    theory: dict[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeSequence:
    """How one run went: `points` are (seconds since the request, bytes of the file that have arrived), thinned.

    `resends` are (seconds, offset in the file) of what was sent again, thinned too; `resends_total` counts them all.
    For UDP they are taken from what the sender sent, for TCP from the kernel's count while it was sending.
    """

    contender: str
    link: str
    repeat: int
    state: str
    points: tuple[tuple[float, int], ...]
    resends: tuple[tuple[float, int], ...]
    resends_total: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TheoryLine:
    """A law as a line for a chart. `axis` is `loss` (share), `delay` (seconds one way) or `windowsize` (blocks).

    `x` are values on that axis, `goodput_bit_s` what the law says there; everything else is as on `link`. `contender`
    is None for laws that hold for all (`link rate`), and names one of them with other windows where the axis is
    `windowsize`.
    """

    law: str
    label: str
    axis: str
    contender: str | None
    link: str
    x: tuple[float, ...]
    goodput_bit_s: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Finding:
    """A sentence that the numbers allow. `kind` is `udp`, `tcp` or `even` (who is ahead), `theory`, or `caution`.

    `link` is the id of the link it speaks of, None for all.
    """

    kind: str
    text: str
    link: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """How it was measured. `where` is `namespaces`, `host` or `simulation`.

    `command` is what repeats it, `grid` a digest of everything that `--resume` needs to be the same. `carrier` and
    `scheduler` are the lab's. `started_at` is ISO 8601 in UTC; `elapsed_s` sums up over resumes.
    """

    where: str
    host: str | None
    command: tuple[str, ...]
    grid: str
    seed: str
    repeats: int
    file_name: str
    file_bytes: int
    file_sha256: str
    max_time_s: float
    started_at: str
    elapsed_s: float
    blockstep: str
    python: str
    kernel: str
    cpu: str
    processors: int
    carrier: str | None
    scheduler: str | None
    link_mtu: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CompareResult:
    """Everything. `complete` is false while runs of the grid are missing; then `cells` are of those that are there.

    `planned_runs` is how many there are in all.
    """

    schema: int
    complete: bool
    planned_runs: int
    method: Method
    contenders: tuple[Contender, ...]
    links: tuple[LinkSpec, ...]
    runs: tuple[Run, ...]
    cells: tuple[Cell, ...]
    sequences: tuple[TimeSequence, ...]
    lines: tuple[TheoryLine, ...]
    summary: str
    findings: tuple[Finding, ...]

    def to_json(self) -> str:
        """ASCII, one line; `from_json` gives an equal value."""
        return json.dumps(asdict(self), ensure_ascii=True, allow_nan=False)

    @classmethod
    def from_json(cls, text_untrusted: str | bytes) -> CompareResult:
        """What `to_json` wrote. LocalError for anything else, with the place that does not fit."""
        try:
            raw = json.loads(text_untrusted)
        except (ValueError, RecursionError) as error:
            raise LocalError(f"not JSON: {error}") from error
        if not isinstance(raw, dict) or raw.get("schema") != SCHEMA:
            raise LocalError(f"not a comparison of schema {SCHEMA}")
        return decode_untrusted(cls, raw)

    @classmethod
    def read(cls, path: Path) -> CompareResult:
        """From a file. LocalError names it."""
        try:
            return cls.from_json(path.read_bytes())
        except (OSError, LocalError) as error:
            raise LocalError(f"{path}: {error}") from error

    def write(self, path: Path) -> None:
        """Into a file that is there whole or as it was before. LocalError names it."""
        write_whole(path, self.to_json() + "\n")

    def contender(self, contender_id: str) -> Contender:
        """By its id; KeyError."""
        return {each.id: each for each in self.contenders}[contender_id]

    def link(self, link_id: str) -> LinkSpec:
        """By its id; KeyError."""
        return {each.id: each for each in self.links}[link_id]

    def cell(self, contender_id: str, link_id: str) -> Cell | None:
        """The cell of both, if it has runs."""
        found = (cell for cell in self.cells if (cell.contender, cell.link) == (contender_id, link_id))
        return next(found, None)
