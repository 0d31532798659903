"""What the two sides and the link have said, put together into one run and judged.

Decided here: what a run's state is. The digest of what arrived must be that of the file. Not known here: who measured.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from blockstep_lab.compare.grid import Order
from blockstep_lab.compare.receiving import Received
from blockstep_lab.compare.results import FAILED, MAX_TIME, OK, VOID, Run, TimeSequence
from blockstep_lab.compare.sending import Sent
from blockstep_lab.netns.checks import LabChecks

__all__ = ["Observed", "judged", "void_run"]


@dataclass(frozen=True, slots=True)
class Observed:
    """A run, and how it went; `sequence` is None where nothing of it is to be shown."""

    run: Run
    sequence: TimeSequence | None


def judged(
    order: Order, sent: Sent | None, received: Received, *, sha256: str | None, checks: LabChecks | None = None
) -> Observed:
    """A run whose self-checks passed, from what each side knows; `sent` None where the sender is not ours.

    `sha256` is the file's, None where it is not known.
    """
    state, reason = _state(received, sha256)
    numbered = state in (OK, MAX_TIME)
    contender_id, link_id, repeat = order.key
    run = Run(
        contender=contender_id,
        link=link_id,
        repeat=repeat,
        seed=order.seed,
        state=state,
        reason=reason,
        goodput_bit_s=received.file_bytes * 8 / received.total_s if numbered and received.total_s else None,
        total_s=received.total_s if numbered else None,
        first_byte_s=received.first_byte_s if numbered else None,
        longest_stall_s=received.longest_stall_s if numbered else None,
        file_bytes=received.file_bytes,
        wire_bytes=sent.wire_bytes + received.wire_bytes if checks and sent else None,
        wire_packets=sent.wire_packets + received.wire_packets if checks and sent else None,
        resends=sent.resends if sent else None,
        timeouts=sent.timeouts if sent else None,
        cpu_sender_s=sent.cpu_s if sent else None,
        cpu_receiver_s=received.cpu_s,
        sha256=received.sha256,
        **_checked(checks),
        attempts=1,
    )
    return Observed(run, _sequence(order, state, sent, received))


def void_run(order: Order, reason: str, checks: LabChecks) -> Observed:
    """A run that is not to be believed: why, and no number of the transfer."""
    contender_id, link_id, repeat = order.key
    nothing = dict.fromkeys(
        (
            *("goodput_bit_s", "total_s", "first_byte_s", "longest_stall_s", "wire_bytes", "wire_packets"),
            *("resends", "timeouts", "cpu_sender_s", "cpu_receiver_s", "sha256"),
        )
    )
    run = Run(
        contender=contender_id,
        link=link_id,
        repeat=repeat,
        seed=order.seed,
        state=VOID,
        reason=reason,
        file_bytes=0,
        attempts=1,
        **_checked(checks),
        **nothing,
    )
    return Observed(run, None)


def _checked(checks: LabChecks | None) -> dict[str, Any]:
    """What the link says of itself; the file goes from right to left."""
    if checks is None:
        return {"measured_loss": None, "late_p99_s": None, "ring_drops": None}
    directions = (checks.left_to_right, checks.right_to_left)
    return {
        "measured_loss": checks.right_to_left.measured_loss,
        "late_p99_s": max(each.late_p99_s for each in directions),
        "ring_drops": checks.ring_drops,
    }


def _state(received: Received, sha256: str | None) -> tuple[str, str | None]:
    if received.over_time:
        return MAX_TIME, f"stopped after {received.total_s:.3g} s"
    if received.failure is not None:
        return FAILED, received.failure
    if sha256 is not None and received.sha256 != sha256:
        return FAILED, "the file arrived with other bytes"
    return OK, None


def _sequence(order: Order, state: str, sent: Sent | None, received: Received) -> TimeSequence | None:
    if state not in (OK, MAX_TIME):
        return None
    resent = sent.resend_points if sent else ()
    return TimeSequence(
        contender=order.contender.id,
        link=order.link.id,
        repeat=order.repeat,
        state=state,
        points=received.points,
        resends=tuple((round(at - received.started_at, 6), offset) for at, offset in resent),
        resends_total=(sent.resends if sent else None) or 0,
    )
