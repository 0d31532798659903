"""One packet in a few words, the same in the ladder and wherever else a packet is shown.

Everything that came from the wire is escaped here.
"""

from __future__ import annotations

from blockstep.protocol.wire import ErrorPacket, Opcode, OptionAck, Options, Request, printable_untrusted
from blockstep_lab.trace.transfer import TracedPacket

__all__ = ["options_text", "packet_text", "quoted"]

_NAME_SHOWN = 60
_VALUE_SHOWN = 30


def quoted(text: str, limit: int = _NAME_SHOWN) -> str:
    """Text from the wire in quotation marks, escaped."""
    return f'"{printable_untrusted(text, limit)}"'


def options_text(options: Options) -> str:
    """`name=value` for each option, escaped."""
    return " ".join(
        f"{printable_untrusted(name, _VALUE_SHOWN)}={printable_untrusted(value, _VALUE_SHOWN)}"
        for name, value in options
    )


def packet_text(packet: TracedPacket) -> str:
    """What the packet says. A block index beyond 65,535 is followed by its wire number."""
    content = packet.content
    if isinstance(content, Request):
        words = [content.opcode.name, quoted(content.filename), content.mode, options_text(content.options)]
        return " ".join(word for word in words if word)
    if isinstance(content, OptionAck):
        return f"OACK {options_text(content.options)}".rstrip()
    if isinstance(content, ErrorPacket):
        return f"ERROR {content.code} {quoted(content.message)}"
    if packet.opcode is None:
        return f"malformed: {packet.error}"
    number = packet.wire if packet.index is None else packet.index
    wire = f" (wire {packet.wire})" if number != packet.wire else ""
    length = f", {packet.length} octets" if packet.opcode == Opcode.DATA else ""
    return f"{packet.opcode.name} {number}{wire}{length}"
