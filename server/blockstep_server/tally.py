"""What a server has done since it began, in numbers that only grow.

Requests are counted by transport, operation and result. A record comes from a child that has had a peer's bytes in
hand, so a word that is none of ours counts as `other`: the table has a bounded number of rows.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from blockstep_server.report import TransferRecord

__all__ = ["Tally"]

_TRANSPORTS = frozenset({"udp", "tcp", "tls", "unix"})
_OPERATIONS = frozenset({"read", "write", ""})


@dataclass(slots=True)
class _Row:
    count: int = 0
    payload_bytes: int = 0
    resends: int = 0


class Tally:
    """The totals of one server."""

    def __init__(self) -> None:
        self._rows: dict[tuple[str, str, str], _Row] = {}
        self._refused: Counter[str] = Counter()

    def add(self, record: TransferRecord) -> None:
        """A request has ended."""
        transport = record.transport if record.transport in _TRANSPORTS else "other"
        op = record.op if record.op in _OPERATIONS else "other"
        row = self._rows.setdefault((transport, op, record.result.value), _Row())
        row.count += 1
        row.payload_bytes += max(0, record.payload_bytes)
        row.resends += max(0, record.resends)

    def add_refusal(self, reason: str) -> None:
        """A request was turned away without a child."""
        self._refused[reason] += 1

    def facts(self) -> dict[str, object]:
        """For JSON: `requests` is the sum of `rows`, `bytes` those of files, each once; `refused` by reason."""
        rows = sorted(self._rows.items())
        return {
            "requests": sum(row.count for _, row in rows),
            "bytes": sum(row.payload_bytes for _, row in rows),
            "rows": [
                {
                    "transport": transport,
                    "op": op,
                    "result": result,
                    "count": row.count,
                    "bytes": row.payload_bytes,
                    "resends": row.resends,
                }
                for (transport, op, result), row in rows
            ],
            "refused": dict(self._refused),
        }
