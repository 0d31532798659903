"""What a scenario wants to know from the capture at its link: each transfer in a few numbers.

Decided here: which numbers. A server that begins two transfers for one request shows by answering from two ports.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from blockstep.protocol.wire import Opcode
from blockstep_lab.trace.capture import read_capture
from blockstep_lab.trace.outcome import outcome_of
from blockstep_lab.trace.rules import check
from blockstep_lab.trace.transfer import Side, Transfer

__all__ = ["SeenTransfer", "read_transfers"]


@dataclass(frozen=True, slots=True)
class SeenTransfer:
    """One transfer as the link saw it. `resends` are DATA sent again, `answers` the ports that the server used."""

    file: str
    duration_s: float
    blocks: int
    resends: int
    answers: int
    violations: tuple[str, ...]


def read_transfers(path: Path) -> list[SeenTransfer]:
    """All transfers of a capture, in the order of their requests."""
    with path.open("rb") as stream:
        return [_seen(transfer) for transfer in read_capture(stream).transfers]


def _seen(transfer: Transfer) -> SeenTransfer:
    outcome = outcome_of(transfer)
    resends = sum(count for (name, _), count in outcome.resends.items() if name == Opcode.DATA.name)
    tids = {packet.tid for packet in transfer.packets if packet.side is Side.SERVER}
    violations = tuple(f"{each.side.value}: {each.text} ({each.reference})" for each in check(transfer))
    name = transfer.request.filename
    return SeenTransfer(name, outcome.duration_s, outcome.blocks, resends, len(tids), violations)
