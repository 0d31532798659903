"""A TFTP packet in a few words, for traces and error messages: `DATA 3 (512)`, `RRQ 'kernel' octet blksize=1428`."""

from __future__ import annotations

from blockstep.protocol.errors import RemoteError
from blockstep.protocol.wire import Ack, Data, ErrorPacket, Options, Request, parse_untrusted, printable_untrusted

__all__ = ["describe_untrusted"]


def describe_untrusted(packet: bytes, length: int | None = None) -> str:
    """One short line that is safe to print, whatever the packet holds.

    `packet` may be only the beginning of a datagram of `length` octets.
    """
    length = len(packet) if length is None else length
    try:
        parsed = parse_untrusted(packet)
    except RemoteError as error:
        return f"{length} octets" if length > len(packet) else f"{length} octets ({error})"
    if isinstance(parsed, Data):
        return f"DATA {parsed.block} ({length - 4})"
    if isinstance(parsed, Ack):
        return f"ACK {parsed.block}"
    if isinstance(parsed, ErrorPacket):
        return f"ERROR {parsed.code} {printable_untrusted(parsed.message, 60)}".rstrip()
    if isinstance(parsed, Request):
        name = printable_untrusted(parsed.filename, 60)
        return (
            f"{parsed.opcode.name} '{name}' {printable_untrusted(parsed.mode, 20)} {_options(parsed.options)}".rstrip()
        )
    return f"OACK {_options(parsed.options)}".rstrip()


def _options(options: Options) -> str:
    return printable_untrusted(" ".join(f"{name}={value}" for name, value in options), 100)
