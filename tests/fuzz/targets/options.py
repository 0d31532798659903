"""Option negotiation: what is granted was asked, and is never more; both sides hold the same afterwards.

The first 16 bytes choose the limits of the server and what our client asks for. The rest are the options as they stand
in a packet, read once as those of a request and once as those of an OACK.
"""

from __future__ import annotations

from blockstep.protocol.errors import ErrorCode, RemoteError
from blockstep.protocol.options import (
    BLKSIZE_SMALLEST,
    KNOWN_OPTIONS,
    Agreed,
    Limits,
    Wanted,
    accept,
    decimal_untrusted,
    negotiate,
)
from blockstep.protocol.wire import Opcode, OptionAck, Request, parse_untrusted

_CHOICES = 16
_NAMES = sorted(KNOWN_OPTIONS)


def one_input(data: bytes) -> None:
    """Both readings of the options, and the whole conversation of our own two sides."""
    choices, words = data[:_CHOICES].ljust(_CHOICES, b"\0"), data[_CHOICES:]
    limits, wanted = _limits(choices), _wanted(choices)
    size_bytes = None if choices[15] & 1 else int.from_bytes(choices[12:15], "big")
    opcode = Opcode.WRQ if choices[15] & 2 else Opcode.RRQ
    _between_ourselves(Request(opcode, "name", "octet", wanted.to_options()), wanted, limits, size_bytes)
    try:
        request = parse_untrusted(opcode.to_bytes(2, "big") + b"name\0octet\0" + words)
        oack = parse_untrusted(b"\0\6" + words)
    except RemoteError:
        return
    assert isinstance(request, Request)
    assert isinstance(oack, OptionAck)
    _asked_by_a_stranger(request, limits, size_bytes)
    _answered_by_a_stranger(wanted, oack)


def _limits(choices: bytes) -> Limits:
    return Limits(
        blksize_max=8 + int.from_bytes(choices[0:2], "big") % 65457,
        windowsize_max=1 + int.from_bytes(choices[2:4], "big") % 65535,
        in_flight_max_bytes=1 << choices[4] % 40,
        timeout_max_s=1 + choices[5] % 255,
        refuse=frozenset({_NAMES[choices[6] % len(_NAMES)]}) if choices[6] & 128 else frozenset(),
    )


def _wanted(choices: bytes) -> Wanted:
    asks = choices[7]
    return Wanted(
        blksize=8 + int.from_bytes(choices[8:10], "big") % 65457 if asks & 1 else None,
        windowsize=1 + int.from_bytes(choices[10:12], "big") % 65535 if asks & 2 else None,
        timeout_s=(1 + choices[12] % 255 if asks & 8 else 0.01 + choices[12] / 100) if asks & 4 else None,
        tsize=int.from_bytes(choices[12:15], "big") if asks & 16 else None,
        rollover=choices[14] & 1 if asks & 32 else None,
    )


def _between_ourselves(request: Request, wanted: Wanted, limits: Limits, size_bytes: int | None) -> None:
    """Our client takes whatever our server grants, and then both hold the same."""
    if request.opcode is Opcode.RRQ and wanted.tsize:
        return  # a client that reads asks for the size, it does not tell one
    agreed, oack = negotiate(request, limits, size_bytes)
    held = Agreed() if oack is None else accept(wanted, oack)
    assert held == agreed, f"the client holds {held}, the server {agreed}"


def _asked_by_a_stranger(request: Request, limits: Limits, size_bytes: int | None) -> None:
    try:
        agreed, oack = negotiate(request, limits, size_bytes)
    except RemoteError as error:
        assert error.code == ErrorCode.OPTION_REFUSED
        return
    asked = {name: decimal_untrusted(value) for name, value in request.options if name in KNOWN_OPTIONS}
    granted = {} if oack is None else {name: int(value) for name, value in oack.options}
    assert oack is None or granted, "an OACK without an option"
    assert granted.keys() <= asked.keys() - limits.refuse, "granted what was not asked for"
    assert [name for name in asked if name in granted] == list(granted), "another order than asked"
    for name, value in granted.items():
        _is_no_more(name, asked[name] or 0, value, is_read=request.opcode is Opcode.RRQ)
    assert BLKSIZE_SMALLEST <= agreed.blksize <= max(limits.blksize_max, 512)
    assert 1 <= agreed.windowsize <= limits.windowsize_max
    assert agreed.windowsize == 1 or agreed.windowsize * agreed.blksize <= limits.in_flight_max_bytes
    assert agreed.timeout_s is None or 0.01 <= agreed.timeout_s <= limits.timeout_max_s


def _is_no_more(name: str, asked: int, granted: int, *, is_read: bool) -> None:
    if name in ("blksize", "blksize2", "windowsize"):
        assert granted <= asked, f"a larger {name} than was asked for"
    elif name != "tsize" or not is_read:
        assert granted == asked, f"another {name} than was asked for"


def _answered_by_a_stranger(wanted: Wanted, oack: OptionAck) -> None:
    try:
        agreed = accept(wanted, oack)
    except RemoteError as error:
        assert error.code == ErrorCode.OPTION_REFUSED
        return
    assert {name for name, _ in oack.options} <= {name for name, _ in wanted.to_options()}
    assert BLKSIZE_SMALLEST <= agreed.blksize <= max(wanted.blksize or 0, 512)  # 512 where the OACK says nothing
    assert 1 <= agreed.windowsize <= (wanted.windowsize or 1)
    assert agreed.rollover in (0, wanted.rollover)
