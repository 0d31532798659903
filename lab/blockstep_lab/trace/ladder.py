"""The message sequence of a transfer, drawn in a terminal: `--ladder`.

        frame     seconds  client                                         server
            1    0.000000    |--- RRQ "vmlinuz" octet blksize=1428 ---------->|
            2    0.000412    |<---------------------- OACK blksize=1428 ------|

Rules of this file: what goes as it should is folded (blocks and acknowledgements that come for the first time and
without a pause); what does not, and two packets on either side of it, is drawn. Times are seconds since the request.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from blockstep.protocol.wire import Opcode
from blockstep_lab.trace.stalls import Stall
from blockstep_lab.trace.transfer import Side, TracedPacket, Transfer
from blockstep_lab.trace.wording import packet_text

__all__ = ["draw"]

_AROUND = 2
_FOLD_AT_LEAST = 4
_WIDTH = 57
_MARGIN = " " * 24


def draw(transfer: Transfer, stalls: Iterable[Stall], marked: Iterable[int] = ()) -> Iterator[str]:
    """The lines of the ladder. `marked` are frame numbers that must not be folded away (violations)."""
    stalled = {stall.frame: stall for stall in stalls}
    packets = transfer.packets
    shown = _shown(packets, {*stalled, *marked})
    start_ns = packets[0].time_ns
    yield f"{'frame':>9}  {'seconds':>11}  {'client':<{_WIDTH - 6}}{'server':>6}"
    at = 0
    while at < len(packets):
        fold = at
        while fold < len(packets) and not shown[fold]:
            fold += 1
        if fold - at >= _FOLD_AT_LEAST:
            yield _folded(packets[at:fold])
            at = fold
            continue
        packet = packets[at]
        stall = stalled.get(packet.frame)
        if stall is not None:
            yield f"{_MARGIN}:   {stall.duration_s:.3f} s: {stall.cause}"
            del stalled[packet.frame]
        yield _rung(packet, start_ns)
        at += 1


def _shown(packets: Sequence[TracedPacket], frames: set[int]) -> list[bool]:
    """For each packet, whether it is drawn: it is not plain, or near one that is not, or at an end."""
    shown = [False] * len(packets)
    for at, packet in enumerate(packets):
        if at in (0, len(packets) - 1) or packet.frame in frames or not _is_plain(packet):
            for near in range(max(0, at - _AROUND), min(len(packets), at + _AROUND + 1)):
                shown[near] = True
    return shown


def _is_plain(packet: TracedPacket) -> bool:
    return (
        packet.opcode in (Opcode.DATA, Opcode.ACK)
        and packet.index is not None
        and packet.why is None
        and not packet.lost
        and not packet.stray
    )


def _folded(packets: Sequence[TracedPacket]) -> str:
    kinds = []
    for opcode in (Opcode.DATA, Opcode.ACK):
        indexes = [packet.index for packet in packets if packet.opcode == opcode and packet.index is not None]
        if indexes:
            first, last = min(indexes), max(indexes)
            kinds.append(f"{opcode.name} {first}" + (f" to {last}" if last > first else ""))
    seconds = (packets[-1].time_ns - packets[0].time_ns) / 1e9
    return f"{_MARGIN}:   {' and '.join(kinds)}: {len(packets)} packets in {seconds:.3f} s"


def _rung(packet: TracedPacket, start_ns: int) -> str:
    seconds = (packet.time_ns - start_ns) / 1e9
    arrow = _arrow(packet_text(packet), packet.side, lost=bool(packet.lost))
    return f"{packet.frame:>9}  {seconds:>11.6f}  {arrow}{_remark(packet)}"


def _arrow(text: str, side: Side, *, lost: bool) -> str:
    """An arrow of fixed width; the shaft of a lost packet ends in an x."""
    if len(text) > _WIDTH - 11:
        text = text[: _WIDTH - 14] + "..."
    shaft = "-" * (_WIDTH - 9 - len(text))
    if side is Side.CLIENT:
        return f"|--- {text} {shaft}{'x ' if lost else '->'}|"
    return f"|{' x' if lost else '<-'}{shaft} {text} ---|"


def _remark(packet: TracedPacket) -> str:
    remarks = []
    if packet.lost:
        remarks.append(f"lost: {packet.lost}")
    if packet.why is not None:
        remarks.append(f"again: {packet.why.value}")
    if packet.stray:
        remarks.append(f"stray, {packet.tid}")
    return f"  {'; '.join(remarks)}" if remarks else ""
