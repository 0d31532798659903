"""Transfers as JSON: `--json`, one object in one line for each.

Rules of this file: what Wireshark has a field for bears Wireshark's name (`tftp.block`, `udp.srcport`, ...) and means
what it means there, as a number where it is one; `tftp.block.full` is the block index. The rest has plain names. Text
from the wire is as it was: JSON escapes what a terminal must not see, and octets that were no UTF-8 come as lone
surrogates.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from blockstep.protocol.wire import ErrorPacket, Opcode, OptionAck, Options, Request
from blockstep_lab.trace.ip import Endpoint
from blockstep_lab.trace.outcome import Outcome
from blockstep_lab.trace.rules import Violation
from blockstep_lab.trace.stalls import Stall
from blockstep_lab.trace.transfer import Side, TracedPacket, Transfer

__all__ = ["packet_record", "transfer_record"]

Record = dict[str, Any]


def transfer_record(
    transfer: Transfer, outcome: Outcome, stalls: Sequence[Stall], violations: Sequence[Violation]
) -> Record:
    """One transfer with its packets."""
    terms = transfer.terms
    return {
        "transfer": transfer.number,
        "client": str(transfer.client),
        "asked": str(transfer.asked),
        "peer": str(transfer.peer) if transfer.peer else None,
        "request": _request_fields(transfer.request),
        "granted": terms.granted,
        "blksize": terms.blksize,
        "windowsize": terms.windowsize,
        "result": outcome.result.name.lower(),
        "detail": outcome.detail,
        "blocks": outcome.blocks,
        "missing_blocks": outcome.missing,
        "bytes": outcome.octets,
        "duration_s": outcome.duration_s,
        "resends": [
            {"packet": packet, "why": why.value, "count": count} for (packet, why), count in outcome.resends.items()
        ],
        "stalls": [
            {"after_frame": stall.after, "frame": stall.frame, "duration_s": stall.duration_s, "cause": stall.cause}
            for stall in stalls
        ],
        "violations": [
            {
                "rule": violation.rule,
                "reference": violation.reference,
                "side": violation.side.value,
                "frame": violation.frame,
                "count": violation.count,
                "text": violation.text,
            }
            for violation in violations
        ],
        "packets": [packet_record(transfer, packet) for packet in transfer.packets],
    }


def packet_record(transfer: Transfer, packet: TracedPacket) -> Record:
    """One packet, with Wireshark's field names."""
    ends = (transfer.client, packet.tid) if packet.side is Side.CLIENT else (packet.tid, transfer.client)
    record: Record = {
        "frame.number": packet.frame,
        "frame.time_epoch": f"{packet.time_ns // 1_000_000_000}.{packet.time_ns % 1_000_000_000:09d}",
        **_end_fields(*ends),
    }
    if packet.opcode is not None:
        record["tftp.opcode"] = int(packet.opcode)
    record |= _content_fields(packet)
    notes: Record = {
        "resent": packet.why.value if packet.why else None,
        "lost": packet.lost or None,
        "stray": packet.stray or None,
        "malformed": str(packet.error) if packet.error else None,
    }
    return record | {name: value for name, value in notes.items() if value is not None}


def _end_fields(source: Endpoint, destination: Endpoint) -> Record:
    family = "ipv6" if ":" in source.address else "ip"
    return {
        f"{family}.src": source.address,
        f"{family}.dst": destination.address,
        "udp.srcport": source.port,
        "udp.dstport": destination.port,
    }


def _content_fields(packet: TracedPacket) -> Record:
    content = packet.content
    if isinstance(content, Request):
        return _request_fields(content)
    if isinstance(content, OptionAck):
        return _option_fields(content.options)
    if isinstance(content, ErrorPacket):
        return {"tftp.error.code": content.code, "tftp.error.message": content.message}
    if packet.opcode is None:
        return {}
    fields: Record = {"tftp.block": packet.wire}
    if packet.index is not None:
        fields["tftp.block.full"] = packet.index
    if packet.opcode == Opcode.DATA:
        fields["length"] = packet.length
    return fields


def _request_fields(request: Request) -> Record:
    name = "tftp.source_file" if request.opcode == Opcode.RRQ else "tftp.destination_file"
    return {
        "tftp.opcode": int(request.opcode),
        name: request.filename,
        "tftp.type": request.mode,
        **_option_fields(request.options),
    }


def _option_fields(options: Options) -> Record:
    if not options:
        return {}
    return {
        "tftp.option.name": [name for name, _ in options],
        "tftp.option.value": [value for _, value in options],
    }
