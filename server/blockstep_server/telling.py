"""What a child says about its work: what is under way, how far that is, what became of it.

The first two go to the child's slot of the board, where they cost no system call, the last as one line to the
supervisor. The slot is cleared before the line is written: who reads of an end finds nothing under way.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from blockstep_server.board import Slot
from blockstep_server.report import TransferRecord

__all__ = ["Telling"]


class Telling:
    """The voice of one child. `tell` takes a record to the supervisor; without a `slot` nobody can watch."""

    def __init__(self, tell: Callable[[TransferRecord], object], slot: Slot | None = None) -> None:
        self._tell = tell
        self._slot = slot

    def began(self, record: TransferRecord) -> None:
        """Blocks will move now; what is known of the transfer is in `record`."""
        if self._slot is not None:
            facts = {"op": record.op, "mode": record.mode, "options": record.options}
            self._slot.begin(record.file, facts, time.monotonic())

    def progress(self, done_bytes: int, resends: int) -> None:
        """How far it is; called at most twenty times a second."""
        if self._slot is not None:
            self._slot.progress(done_bytes, resends)

    def proven(self) -> None:
        """The peer is where its packets say. May be called again."""
        if self._slot is not None:
            self._slot.prove()

    def settled(self, heard_ns: int) -> None:
        """Nothing more is wanted of the peer, last heard at `heard_ns`, which does not know yet if all went well."""
        if self._slot is not None:
            self._slot.settle(heard_ns)

    def left(self, datagram_untrusted: bytes) -> None:
        """This datagram of the peer's is not for us. Said after all else but `ended`."""
        if self._slot is not None:
            self._slot.leave(datagram_untrusted)

    def ended(self, record: TransferRecord) -> None:
        """A request has ended, whether or not anything had begun."""
        if self._slot is not None:
            self._slot.end()
        self._tell(record)
