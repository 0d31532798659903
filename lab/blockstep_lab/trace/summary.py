"""A transfer in a few lines for a person.

Rules of this file: text only, one line for each fact, nothing from the wire unescaped. Sizes are in binary units with
the exact count of octets beside them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from blockstep_lab.trace.capture import Capture
from blockstep_lab.trace.outcome import Outcome
from blockstep_lab.trace.rules import Violation
from blockstep_lab.trace.stalls import Stall
from blockstep_lab.trace.transfer import Transfer
from blockstep_lab.trace.wording import options_text, quoted

__all__ = ["capture_lines", "size_text", "transfer_lines", "violation_lines"]

_STALLS_SHOWN = 10


def capture_lines(capture: Capture) -> Iterator[str]:
    """What was in the file besides transfers; nothing for a capture of TFTP alone."""
    if capture.cut:
        yield f"warning: {capture.cut}"
    if capture.dropped:
        yield f"warning: the capturing program lost {capture.dropped} packets, so some findings may be wrong"
    if capture.repeated:
        yield f"{capture.repeated} packets were captured more than once and are counted once"
    left = [f"{count} {reason}" for reason, count in sorted(capture.skipped.items())]
    if capture.others:
        left.append(f"{capture.others} UDP datagrams of no transfer")
    if left:
        yield "left out: " + ", ".join(left)


def transfer_lines(transfer: Transfer, outcome: Outcome, stalls: Sequence[Stall]) -> Iterator[str]:
    """The transfer: who, what, options, resends, stalls, end."""
    frames = f"frames {transfer.packets[0].frame}-{transfer.packets[-1].frame}"
    yield f"#{transfer.number}  {transfer.client} -> {_server_text(transfer)}  {frames}"
    verb = "read" if transfer.is_read else "write"
    yield f"    request: {verb} {quoted(transfer.request.filename, 200)} {transfer.request.mode}"
    yield from _option_lines(transfer)
    if outcome.blocks:
        yield f"    carried: {_carried_text(transfer, outcome)}"
    if outcome.missing:
        yield f"    capture: {outcome.missing} blocks were never seen, the capture is not whole"
    if outcome.resends:
        yield "    resends: " + ", ".join(
            f"{count} {name} ({why.value})" for (name, why), count in outcome.resends.items()
        )
    yield from _stall_lines(stalls)
    yield f"    result:  {outcome.result.value}" + (f" ({outcome.detail})" if outcome.detail else "")


def violation_lines(violations: Sequence[Violation]) -> Iterator[str]:
    """One line for each rule that was broken."""
    for violation in violations:
        times = f" ({violation.count} times)" if violation.count > 1 else ""
        yield (
            f"    VIOLATION {violation.rule}: {violation.side.value}, frame {violation.frame}{times}: "
            f"{violation.text} [{violation.reference}]"
        )


def size_text(octets: int) -> str:
    """`512 B`, `1.00 MiB`."""
    size, units = float(octets), ["B", "KiB", "MiB", "GiB", "TiB"]
    while size >= 1024 and len(units) > 1:
        size /= 1024
        units.pop(0)
    return f"{octets} B" if units[0] == "B" else f"{size:.2f} {units[0]}"


def _server_text(transfer: Transfer) -> str:
    if transfer.peer is None:
        return str(transfer.asked)
    if transfer.peer == transfer.asked:
        return f"{transfer.asked} (same port)"
    if transfer.peer.address == transfer.asked.address:
        return f"{transfer.asked} (answered from port {transfer.peer.port})"
    return f"{transfer.asked} (answered from {transfer.peer})"


def _option_lines(transfer: Transfer) -> Iterator[str]:
    asked, granted = transfer.request.options, transfer.terms.granted
    if not asked and not granted:
        return
    taken = options_text(tuple(granted.items()))
    yield f"    options: asked {options_text(asked) or 'none'}; granted {taken or 'none'}"


def _carried_text(transfer: Transfer, outcome: Outcome) -> str:
    blocks = f"{outcome.blocks} blocks of {transfer.terms.blksize}"
    window = f", window {transfer.terms.windowsize}" if transfer.terms.windowsize > 1 else ""
    exact = f" ({outcome.octets} octets)" if outcome.octets >= 1024 else ""
    rate = f", {size_text(round(outcome.octets / outcome.duration_s))}/s" if outcome.duration_s > 0 else ""
    return f"{size_text(outcome.octets)}{exact} in {blocks}{window}, {outcome.duration_s:.3f} s{rate}"


def _stall_lines(stalls: Sequence[Stall]) -> Iterator[str]:
    longest = sorted(stalls, key=lambda stall: -stall.duration_s)[:_STALLS_SHOWN]
    if len(stalls) > 1:
        total = sum(stall.duration_s for stall in stalls)
        yield f"    stalls:  {len(stalls)}, {total:.3f} s in all, longest first"
    for stall in longest:
        yield f"    stalled {stall.duration_s:.3f} s before frame {stall.frame}: {stall.cause}"
