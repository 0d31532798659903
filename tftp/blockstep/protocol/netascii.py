"""netascii, to and from the bytes of a Unix file, as a stream that may be cut anywhere.

Rules of this file: RFC 1350 section 1 takes netascii from the Telnet protocol (RFC 764): a line ends with CR LF, and a
CR that is just a CR is sent as CR NUL. Here a local line ends with LF, so

    file    wire            wire                    file
    LF      CR LF           CR LF                   LF
    CR      CR NUL          CR NUL                  CR
                            CR and anything else    the same two (not legal; guessing could lose data)
                            CR at the very end      CR

Bytes over 127 pass unchanged. So every file, binary or not, comes back as it was. A pair may fall across the border of
two blocks: the decoder keeps a last CR back until it knows what follows. Nothing here knows blocks or files.
"""

from __future__ import annotations

from blockstep.protocol.wire import Buffer

__all__ = ["Decoder", "Encoder"]


class Encoder:
    """File bytes to wire bytes. The output of several calls, joined, does not depend on where the input was cut."""

    def encode(self, data: Buffer) -> bytes:
        """The wire form of `data`, len(data) to 2 x len(data) octets."""
        return bytes(data).replace(b"\r", b"\r\0").replace(b"\n", b"\r\n")

    def finish(self) -> bytes:
        """What is still to be sent at the end: nothing. Here so that both directions are driven alike."""
        return b""


class Decoder:
    """Wire bytes to file bytes. The output of all calls, joined, does not depend on where the input was cut."""

    __slots__ = ("_kept",)

    def __init__(self) -> None:
        self._kept = b""

    def decode(self, data: Buffer) -> bytes:
        """The file form of `data`, at most 1 octet longer than it: a CR at the end waits for the next call."""
        text = self._kept + bytes(data)
        self._kept = b""
        if text.endswith(b"\r"):
            self._kept, text = b"\r", text[:-1]
        # CR LF first: the other way round, CR NUL LF would become CR LF and then LF.
        return text.replace(b"\r\n", b"\n").replace(b"\r\0", b"\r")

    def finish(self) -> bytes:
        """The last octet, if a lone CR ended the stream."""
        kept, self._kept = self._kept, b""
        return kept
