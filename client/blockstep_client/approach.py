"""How a transfer gets its first answer: which address is asked, with which options, and what is tried next.

- Every address of a host is tried in turn while none answers (`in_turn`).
- ERROR 8 to a request with options is answered with the same request without any (RFC 2347 section 2 leaves that to the
  client). A server that ignores options needs nothing: its answer says so.

What happens after the first answer is not known here.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from blockstep.protocol.errors import End, ErrorCode, TransferFailed
from blockstep.protocol.options import Wanted
from blockstep.protocol.timer import ResendTimer
from blockstep.protocol.wire import Opcode, Request
from blockstep.transport.client import Opened, open_udp
from blockstep_client.address import Target
from blockstep_client.errors import CannotReach
from blockstep_client.in_turn import first_answer
from blockstep_client.pathmtu import largest_blksize
from blockstep_client.resolve import Address, resolve
from blockstep_client.settings import BLKSIZE_DEFAULT, Settings

__all__ = ["Approach"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Approach:
    """Everything that a request is made of. `expires_at` is on the monotonic clock; `note` takes words for `-v`."""

    opcode: Opcode
    target: Target
    mode: str
    tsize: int | None
    settings: Settings
    expires_at: float
    note: Callable[[str], None]

    def open(self) -> Opened:
        """Ask until somebody agrees. Raises CannotResolve, CannotReach, TransferFailed, LocalError."""
        addresses = resolve(self.target.host, self.target.port, self.settings.family)
        return first_answer(addresses, self._ask, self.note)

    def _ask(self, address: Address, at_most_s: float | None, *, tries_elsewhere: bool) -> Opened:
        settings = self.settings
        patience_s = settings.give_up_s if at_most_s is None else at_most_s
        blksize = settings.blksize or BLKSIZE_DEFAULT
        windowsize = settings.windowsize_for(self.opcode, self.mode)
        wanted = settings.wanted(largest_blksize(address) if blksize == "auto" else blksize, windowsize, self.tsize)
        try:
            return self._ask_for(wanted, address, patience_s, tries_elsewhere)
        except TransferFailed as failure:
            refused = failure.end is End.PEER_ERROR and failure.code == ErrorCode.OPTION_REFUSED
            if not refused or not wanted.to_options():
                raise
            self.note(f'{address} refuses options ("{failure.detail}"), asking without')
            return self._ask_for(Wanted(), address, patience_s, tries_elsewhere)

    def _ask_for(self, wanted: Wanted, address: Address, patience_s: float, tries_elsewhere: bool) -> Opened:
        request = Request(self.opcode, self.target.path, self.mode, wanted.to_options())
        asked = ", ".join(f"{name}={value}" for name, value in request.options) or "no options"
        self.note(f"asking {address} for {asked}")
        settings = self.settings
        try:
            return open_udp(
                request,
                wanted,
                address.where,
                timer=ResendTimer(ceiling_s=settings.ceiling_s, give_up_s=settings.give_up_s),
                patience_s=max(0.0, min(patience_s, self.expires_at - time.monotonic())),
                tries_elsewhere=tries_elsewhere,
                any_source=settings.any_source,
                recorder=settings.recorder,
            )
        except TransferFailed as failure:
            if failure.end is End.TIMED_OUT and time.monotonic() >= self.expires_at:
                raise TransferFailed(End.MAX_TIME, "no answer in time") from None
            raise
        except OSError as error:
            raise CannotReach(f"{address} cannot be asked: {(error.strerror or 'unknown error').lower()}") from error
