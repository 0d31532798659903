"""What a user wants of every transfer of one command, and what that means in terms of the protocol.

Defaults: blksize 1428 because it crosses tunnels and PPPoE without a fragment; windowsize 16 because it is most of the
speed on a clean path, little to lose on a bad one, and less than the receive ring of any network card. Text that is
fetched travels in lock-step: atftpd 0.8 translates as it reads and cannot go back over a window, so that one lost block
ends it. The two timer settings together bound how long a dead server keeps us: `retries` further tries of at most
`timeout_s` each.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from blockstep.protocol.options import Wanted
from blockstep.protocol.stream import BLKSIZE_STREAM, stream_wanted
from blockstep.protocol.timer import CEILING_S
from blockstep.protocol.wire import Opcode
from blockstep.transport.recording import Recorder

__all__ = ["BLKSIZE_DEFAULT", "RETRIES_DEFAULT", "WINDOWSIZE_DEFAULT", "Settings"]

BLKSIZE_DEFAULT: Final = 1428
WINDOWSIZE_DEFAULT: Final = 16
RETRIES_DEFAULT: Final = 5
# No socket buffer holds more, so a larger window only loses its end; and the sender keeps all of it in memory.
IN_FLIGHT_BYTES: Final = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The flags that `get` and `put` share. `mode` None: what the address says, or octet.

    `blksize` and `windowsize` None: what suits the transfer. `cafile`, `certificate` and `key` are PEM files, for TLS.

    `recorder` notes every datagram, for `--pcap`.
    """

    blksize: int | Literal["auto"] | None = None
    windowsize: int | None = None
    timeout_s: float | None = None
    retries: int = RETRIES_DEFAULT
    max_time_s: float | None = None
    mode: str | None = None
    use_options: bool = True
    family: socket.AddressFamily = socket.AF_UNSPEC
    any_source: bool = False
    replace: bool = True
    cafile: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    recorder: Recorder | None = None

    @property
    def ceiling_s(self) -> float:
        """The longest wait before something is sent again."""
        return CEILING_S if self.timeout_s is None else self.timeout_s

    @property
    def give_up_s(self) -> float:
        """How long a server may be silent."""
        return self.ceiling_s * (self.retries + 1)

    def mode_for(self, named_by_address: str | None) -> str:
        """The mode of one transfer: an address that names one is more particular than a flag."""
        return named_by_address or self.mode or "octet"

    def wanted_on_stream(self, tsize: int | None) -> Wanted:
        """The options to ask for on a stream: no windows, larger blocks; a timeout is how long nothing may move."""
        if not self.use_options:
            return Wanted()
        blksize = BLKSIZE_STREAM if self.blksize is None or self.blksize == "auto" else self.blksize
        return stream_wanted(blksize=blksize, timeout_s=self.timeout_s, tsize=tsize)

    def windowsize_for(self, opcode: Opcode, mode: str) -> int:
        """The window to ask for, of any blksize."""
        if self.windowsize is not None:
            return self.windowsize
        return 1 if opcode is Opcode.RRQ and mode == "netascii" else WINDOWSIZE_DEFAULT

    def wanted(self, blksize: int, windowsize: int, tsize: int | None) -> Wanted:
        """The options to ask for: `blksize` replaces "auto" by a number, `tsize` is what `Wanted` takes."""
        if not self.use_options:
            return Wanted()
        windowsize = max(1, min(windowsize, IN_FLIGHT_BYTES // blksize))
        return Wanted(blksize=blksize, windowsize=windowsize, timeout_s=self.timeout_s, tsize=tsize)
