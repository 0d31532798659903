from __future__ import annotations

import json
from pathlib import Path

from blockstep_lab.compare.load import Ended, Interval, Load, LoadResult
from blockstep_lab.compare.load_report import HEADINGS, interval_line, summary_lines, to_json
from blockstep_lab.compare.transfer import Transfer

TRANSFER = Transfer(transport="udp", blksize=1428, windowsize=4, name="kernel")
RESULT = LoadResult(
    Load(transfer=TRANSFER, where=("127.0.0.1", 69), sessions=3, duration_s=2.0, interval_s=1.0),
    [Interval(0.0, 1.0, 12_900_000, 10, 0), Interval(1.0, 2.0, 1_000, 0, 2)],
    [
        *(Ended(1.0, each / 10, None) for each in range(1, 11)),
        Ended(2.0, 9.0, "no answer"),
        Ended(2.0, 9.0, "no answer"),
    ],
)


def test_a_line_stands_under_its_headings() -> None:
    line = interval_line(RESULT.intervals[0])
    assert line.split() == ["0.00-1.00", "sec", "12.30", "MiB", "103", "Mbit/s", "10", "0"]
    for heading, cell in (("Transfer", "MiB"), ("Bitrate", "bit/s"), ("ok", "10"), ("failed", "0")):
        assert HEADINGS.index(heading) + len(heading) == line.rindex(cell) + len(cell)


def test_the_end_has_the_whole_the_times_and_the_reasons() -> None:
    _, total, times, failed = summary_lines(RESULT)
    assert total.split()[:2] == ["0.00-2.00", "sec"]
    assert times == "time of a transfer: p50 500 ms, p90 900 ms, p99 1.00 s, max 1.00 s"
    assert failed == "failed 2 times: no answer"


def test_json_has_the_same_parts() -> None:
    raw = json.loads(to_json(RESULT))
    assert raw["start"]["server"] == ["127.0.0.1", 69]
    assert raw["start"]["windowsize"] == 4
    assert [each["ok"] for each in raw["intervals"]] == [10, 0]
    assert raw["end"]["bytes"] == 12_901_000
    assert raw["end"]["transfer_s"] == {"p50": 0.5, "p90": 0.9, "p99": 1.0, "max": 1.0}
    assert raw["end"]["failures"] == {"no answer": 2}


def test_nothing_at_all_is_told_too() -> None:
    stream = Transfer(transport="unix", blksize=65536)
    nothing = LoadResult(
        Load(transfer=stream, where=Path("/s"), sessions=1, duration_s=1.0, interval_s=0.0), [Interval(0, 1, 0, 0, 0)]
    )
    assert len(summary_lines(nothing)) == 2
    raw = json.loads(to_json(nothing))
    assert raw["end"]["transfer_s"] is None
    assert (raw["start"]["server"], raw["start"]["windowsize"]) == ("/s", None)
