"""What a load came to, in iperf3's manner: a line for each interval, then the whole; or JSON with the same parts."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from blockstep_lab.compare.load import Interval, LoadResult
from blockstep_lab.compare.wording import rate_text, time_text
from blockstep_lab.simulation import Distribution

__all__ = ["HEADINGS", "interval_line", "summary_lines", "to_json"]

HEADINGS = f"{'Interval':18} {'Transfer':>12} {'Bitrate':>14} {'ok':>8} {'failed':>8}"
_RULE = "- " * 31
_REASONS = 5


def interval_line(interval: Interval) -> str:
    """`  0.00-1.00   sec     12.3 MiB      103 Mbit/s  ...`."""
    span = f"{interval.start_s:6.2f}-{interval.end_s:<6.2f} sec"
    mebibytes = f"{interval.file_bytes / (1 << 20):,.2f} MiB"
    return f"{span:18} {mebibytes:>12} {rate_text(interval.bit_s):>14} {interval.ok:8,} {interval.failed:8,}"


def summary_lines(result: LoadResult) -> list[str]:
    """After the last interval."""
    lines = [_RULE.rstrip(), interval_line(result.total)]
    times = _times(result)
    if times is not None:
        told = ", ".join(f"{name} {time_text(getattr(times, field))}" for name, field in _POINTS.items())
        lines.append(f"time of a transfer: {told}")
    reasons = Counter(each.failure for each in result.ended if each.failure is not None)
    lines += [f"failed {count:,} times: {reason}" for reason, count in reasons.most_common(_REASONS)]
    return lines


def to_json(result: LoadResult) -> str:
    """An object with `start`, `intervals` and `end`, as iperf3's."""
    load, times = result.load, _times(result)
    start = {
        "transport": load.transfer.transport,
        "file": load.transfer.name,
        "server": str(load.where) if not isinstance(load.where, tuple) else list(load.where[:2]),
        "blksize": load.transfer.blksize,
        "windowsize": load.transfer.windowsize if not load.transfer.is_stream else None,
        "sessions": load.sessions,
        "duration_s": load.duration_s,
        "interval_s": load.interval_s,
    }
    end = {
        **_plain(result.total),
        "transfer_s": None if times is None else {name: getattr(times, field) for name, field in _POINTS.items()},
        "failures": dict(Counter(each.failure for each in result.ended if each.failure is not None)),
    }
    return json.dumps({"start": start, "intervals": [_plain(each) for each in result.intervals], "end": end})


_POINTS = {"p50": "median", "p90": "p90", "p99": "p99", "max": "most"}


def _plain(interval: Interval) -> dict[str, Any]:
    return {
        "start_s": interval.start_s,
        "end_s": interval.end_s,
        "bytes": interval.file_bytes,
        "bits_per_second": interval.bit_s,
        "ok": interval.ok,
        "failed": interval.failed,
    }


def _times(result: LoadResult) -> Distribution | None:
    times = [each.took_s for each in result.ended if each.failure is None]
    return Distribution.of(times) if times else None
