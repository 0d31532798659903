from __future__ import annotations

from typing import Any

from blockstep_server.report import Result, TransferRecord
from blockstep_server.tally import Tally


def record(**known: Any) -> TransferRecord:
    return TransferRecord(**{"peer": "peer", "op": "read", "result": Result.COMPLETE, **known})


def test_requests_are_counted_by_transport_operation_and_result() -> None:
    tally = Tally()
    tally.add(record(payload_bytes=10, resends=1))
    tally.add(record(payload_bytes=20))
    tally.add(record(transport="tcp", op="write", payload_bytes=5))
    tally.add(record(op="", result=Result.REFUSED))
    facts = tally.facts()
    assert (facts["requests"], facts["bytes"]) == (4, 35)
    assert facts["rows"] == [
        {"transport": "tcp", "op": "write", "result": "complete", "count": 1, "bytes": 5, "resends": 0},
        {"transport": "udp", "op": "", "result": "refused", "count": 1, "bytes": 0, "resends": 0},
        {"transport": "udp", "op": "read", "result": "complete", "count": 2, "bytes": 30, "resends": 1},
    ]


def test_refusals_are_counted_by_reason() -> None:
    tally = Tally()
    for reason in ("full", "full", "denied"):
        tally.add_refusal(reason)
    assert tally.facts()["refused"] == {"full": 2, "denied": 1}


def test_a_child_can_make_no_rows_without_end() -> None:
    tally = Tally()
    for number in range(100):
        tally.add(record(transport=f"t{number}", op=f"o{number}", payload_bytes=-5))
    rows = tally.facts()["rows"]
    assert rows == [{"transport": "other", "op": "other", "result": "complete", "count": 100, "bytes": 0, "resends": 0}]
