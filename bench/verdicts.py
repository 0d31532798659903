"""What must hold, held against what was measured.

Each demand is a ratio or a time in one run of the bench; a verdict has the sentence, the figures and whether it holds
(None: not measured). A ratio of rates is the median over the pairs of "ours over the fastest other in the same turn",
where the fastest is who has the best median. "Within noise" means that the quartiles of the pairs enclose the bound.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from servers import C_SERVERS, OURS

SMALL_LIMIT_BYTES = 100_000
Record = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Verdict:
    """One demand. `holds` is None where the run did not measure it."""

    demand: str
    figures: str
    holds: bool | None

    @property
    def word(self) -> str:
        """For a table."""
        return {True: "PASS", False: "falls short", None: "not measured"}[self.holds]


@dataclass(frozen=True, slots=True)
class Ratio:
    """Ours over another's, turn by turn: the median and the quartiles."""

    other: str
    median: float
    low: float
    high: float

    def reaches(self, bound: float, *, within_noise: bool = False) -> bool:
        """Whether the median is at least `bound`, or the upper quartile where noise is to be allowed for."""
        return (self.high if within_noise else self.median) >= bound

    def __str__(self) -> str:
        return f"{self.median:.2f} x {self.other} ({self.low:.2f} to {self.high:.2f})"


def ratio_to_fastest(rates: Mapping[str, Sequence[float]], others: Iterable[str], ours: str = OURS) -> Ratio | None:
    """`rates` by server name, one for each turn. None if ours or all others are missing."""
    present = [name for name in others if rates.get(name)]
    if not present or not rates.get(ours):
        return None
    fastest = max(present, key=lambda name: statistics.median(rates[name]))
    pairs = [own / other for own, other in zip(rates[ours], rates[fastest], strict=False) if other > 0]
    if not pairs:
        return None
    low, median, high = statistics.quantiles(pairs, n=4, method="inclusive") if len(pairs) > 1 else pairs * 3
    return Ratio(fastest, median, low, high)


def verdicts(results: Record) -> list[Record]:
    """Every demand with its figures, for the JSON and the tables."""
    found = [*_speed(results), *_loss(results), *_crowds(results)]
    return [{**asdict(verdict), "word": verdict.word} for verdict in found]


# Speed


def _speed(results: Record) -> Iterable[Verdict]:
    everybody = _other_names(results)
    yield _rate_verdict(results, (1428, 64), everybody, 3.0)
    for blksize in (512, 1428):
        yield _rate_verdict(results, (blksize, 1), C_SERVERS, 1.0)
    yield _file_to_file(results.get("file_to_file"))


def _rate_verdict(results: Record, cell: tuple[int, int], others: Sequence[str], bound: float) -> Verdict:
    c_only = others is C_SERVERS
    demand = f"blksize {cell[0]}, windowsize {cell[1]}: {bound:g} x the fastest {'C ' if c_only else 'other '}server"
    for record in results.get("throughput", ()):
        if (record["blksize"], record["windowsize"]) == cell:
            ratio = ratio_to_fastest(_rates(record), others)
            return _ratio_verdict(demand, ratio, bound, within_noise=c_only)
    return Verdict(demand, "-", None)


def _ratio_verdict(demand: str, ratio: Ratio | None, bound: float, *, within_noise: bool = False) -> Verdict:
    if ratio is None:
        return Verdict(demand, "-", None)
    return Verdict(demand, str(ratio), ratio.reaches(bound, within_noise=within_noise))


def _rates(record: Record) -> dict[str, Sequence[float]]:
    return {name: entry["mb_s"] for name, entry in record["servers"].items() if not entry["left_out"]}


def _file_to_file(record: Record | None) -> Verdict:
    demand = "own client and server, file to file: 0.4 of TCP sendfile"
    if not record or not record["ours"]:
        return Verdict(demand, "-", None)
    tcp = record["tcp_mb_s"]
    ratios = {
        (each["blksize"], each["windowsize"]): statistics.median(
            own / other for own, other in zip(each["mb_s"], tcp, strict=True)
        )
        for each in record["ours"]
    }
    figures = ", ".join(f"{blksize} x {windowsize}: {ratio:.2f}" for (blksize, windowsize), ratio in ratios.items())
    default = ratios.get((1428, 64))
    return Verdict(f"{demand} (1428 x 64 counts)", figures, None if default is None else default >= 0.4)


# Loss


def _loss(results: Record) -> Iterable[Verdict]:
    for blksize in (512, 1428):
        record = _loss_record(results, 1.0, blksize, 1)
        demand = f"1 MiB at blksize {blksize}, windowsize 1 through 1 % loss each way: under 1 s"
        if not record:
            yield Verdict(demand, "-", None)
            continue
        own = median_s(record, OURS)
        yield Verdict(demand, f"median {seconds(own, record)}", own is not None and own < 1.0)
    for blksize in (512, 1428):
        record = _loss_record(results, 5.0, blksize, 16)
        demand = f"1 MiB at blksize {blksize}, windowsize 16 through 5 %: no slower than dnsmasq"
        if not record or "dnsmasq" not in record["servers"]:
            yield Verdict(demand, "-", None)
            continue
        own, other = median_s(record, OURS), median_s(record, "dnsmasq")
        holds = own is not None and (other is None or own <= other)
        yield Verdict(demand, f"{seconds(own, record)} against {seconds(other, record)}", holds)


def _loss_record(results: Record, loss_percent: float, blksize: int, windowsize: int) -> Record | None:
    wanted = (loss_percent, blksize, windowsize)
    for record in results.get("loss", ()):
        if (record["loss_percent"], record["blksize"], record["windowsize"]) == wanted:
            return dict(record)
    return None


def median_s(record: Record, name: str) -> float | None:
    """The median over the seeds; a transfer that did not end in time counts as endless. None: most did not."""
    times = [float("inf") if each["seconds"] is None else each["seconds"] for each in record["servers"].get(name, ())]
    middle = statistics.median_high(times) if times else float("inf")
    return None if middle == float("inf") else middle


def seconds(value: float | None, record: Record) -> str:
    """A time, or the limit that it exceeds."""
    return f"> {record['limit_s']:g} s" if value is None else f"{value:.2f} s"


# Crowds


def _crowds(results: Record) -> Iterable[Verdict]:
    others = _other_names(results)
    yield _all_finish(results, 500, small=True)
    yield _all_finish(results, 200, small=False)
    for windowsize, rivals, whom in ((1, ("tftpd-hpa",), "tftpd-hpa"), (16, others, "the best of the others")):
        demand = f"200 x 1 MiB at windowsize {windowsize}: at least the rate of {whom}"
        record = next(iter(_crowd_records(results, 200, small=False, windowsize=windowsize)), None)
        rates = {name: [run["mb_s"] for run in runs] for name, runs in record["servers"].items()} if record else {}
        yield _ratio_verdict(demand, ratio_to_fastest(rates, rivals), 1.0)


def _all_finish(results: Record, clients: int, *, small: bool) -> Verdict:
    demand = f"{clients} at once, {'small' if small else '1 MiB'}: all finish, none asks twice, nothing is left"
    runs = [run for record in _crowd_records(results, clients, small=small) for run in record["servers"].get(OURS, ())]
    if not runs:
        return Verdict(demand, "-", None)
    failed, again = sum(run["failed"] for run in runs), sum(run["asked_again"] for run in runs)
    left = sum(sum(run["left"].values()) for run in runs)
    figures = f"{len(runs)} storms: {failed} failed, {again} asked again, {left} left over"
    return Verdict(demand, figures, not failed and not again and not left)


def _crowd_records(results: Record, clients: int, *, small: bool, windowsize: int | None = None) -> list[Record]:
    return [
        record
        for record in results.get("crowds", ())
        if record["clients"] == clients
        and (record["size_bytes"] < SMALL_LIMIT_BYTES) == small
        and windowsize in (None, record["windowsize"])
    ]


def _other_names(results: Record) -> list[str]:
    names = {
        name for part in ("throughput", "crowds") for record in results.get(part, ()) for name in record["servers"]
    }
    return sorted(name for name in names if not name.startswith(OURS))
