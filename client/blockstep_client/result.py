"""What came of a transfer: one record, shown as a line for people or as a JSON object for programs.

The JSON keys are an interface: they are only ever added to. Sizes are bytes, times seconds; what is not known is null.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from blockstep.protocol.machine import TransferStats
from blockstep.protocol.options import Agreed
from blockstep.protocol.wire import printable_untrusted
from blockstep_client.address import Transport
from blockstep_client.jobs import Direction, Job

__all__ = ["Failure", "TransferResult"]


@dataclass(frozen=True, slots=True)
class Failure:
    """Why there is no file: `kind` for programs, `message` for people, `code` from the wire if there was one."""

    kind: str
    message: str
    exit_code: int
    code: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferResult:
    """One transfer, over.

    `peer` is `host:port` as it answered, None if nothing answered. `failure` None means success. `stop_code` is the
    exit code of a signal that ended the whole command meanwhile, 0 if there was none.
    """

    job: Job
    mode: str
    seconds: float
    peer: str | None = None
    agreed: Agreed = field(default_factory=Agreed)
    stats: TransferStats = field(default_factory=TransferStats)
    srtt_s: float | None = None
    failure: Failure | None = None
    stop_code: int = 0

    @property
    def exit_code(self) -> int:
        """0, or the failure's."""
        return 0 if self.failure is None else self.failure.exit_code

    def to_json(self) -> str:
        """One line, ASCII only."""
        return json.dumps(self._record(), ensure_ascii=True)

    def line(self) -> str:
        """One line for people, safe to print. Only for a success."""
        arrow = ("<-", self.job.target) if self.job.direction is Direction.GET else ("->", self.job.target)
        rate = _amount(self.stats.payload_bytes / self.seconds) + "/s" if self.seconds > 0 else "-"
        return (
            f"{printable_untrusted(self.job.local)} {arrow[0]} {arrow[1]}: {_amount(self.stats.payload_bytes)} in "
            f"{self.seconds:.2f} s ({rate}), {self.details()}"
        )

    def details(self) -> str:
        """What was agreed, and how often something went out again."""
        blksize = f"blksize {self.agreed.blksize}"
        if self.job.target.transport is not Transport.UDP:
            return blksize
        return f"{blksize}, windowsize {self.agreed.windowsize}, resends {self.stats.resends}"

    def _record(self) -> dict[str, Any]:
        failure = self.failure
        return {
            "op": self.job.direction.value,
            "ok": failure is None,
            "remote": str(self.job.target),
            "local": printable_untrusted(self.job.local, 4096),
            "transport": self.job.target.transport.value,
            "peer": self.peer,
            "mode": self.mode,
            "bytes": self.stats.payload_bytes,
            "seconds": round(self.seconds, 6),
            "blksize": self.agreed.blksize,
            "windowsize": self.agreed.windowsize,
            "timeout_s": self.agreed.timeout_s,
            "tsize": self.agreed.tsize,
            "blocks": self.stats.blocks,
            "resends": self.stats.resends,
            "timeouts": self.stats.timeouts,
            "duplicates": self.stats.duplicates,
            "srtt_s": self.srtt_s,
            "error": failure and {"kind": failure.kind, "code": failure.code, "message": failure.message},
            "exit_code": self.exit_code,
        }


def _amount(count: float) -> str:
    """Bytes with a binary prefix, as the progress bar writes them."""
    for prefix in ("", "Ki", "Mi"):
        if count < 1024:
            return f"{count:.0f} B" if not prefix else f"{count:.1f} {prefix}B"
        count /= 1024
    return f"{count:.1f} GiB"
