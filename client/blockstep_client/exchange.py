"""What every transport has to do for a transfer, so that the rest of the client need not know which one it is.

An exchange is one transfer on its transport, from the request to the last byte: it asks, learns what the server agrees
to, has a sink made for it or takes a source, and moves the blocks. Names, files, results and words are decided above.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from blockstep.protocol.machine import TransferStats
from blockstep.protocol.options import Agreed
from blockstep.transport.files import Sink, Source
from blockstep.transport.pump import Progress
from blockstep_client.address import Target
from blockstep_client.settings import Settings

__all__ = ["Exchange", "MakeSink", "Matter"]

MakeSink = Callable[[Agreed], Sink]
"""Makes the local file once it is known what holds. What it raises, the server is told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Matter:
    """What a transfer is about. `expires_at` is on the monotonic clock; `note` takes words for `-v`."""

    target: Target
    mode: str
    settings: Settings
    expires_at: float
    note: Callable[[str], None]
    progress: Progress

    def left_s(self) -> float | None:
        """What is left of `--max-time`, more than 0; None without such a limit."""
        if self.settings.max_time_s is None:
            return None
        return max(0.001, self.expires_at - time.monotonic())


class Exchange(Protocol):
    """One transfer on its transport. Call `get` or `put` once; the properties tell how far it came, at any time."""

    @property
    def peer(self) -> str | None:
        """Who answered, None if nobody has."""

    @property
    def agreed(self) -> Agreed:
        """What holds."""

    @property
    def stats(self) -> TransferStats:
        """What has moved."""

    @property
    def srtt_s(self) -> float | None:
        """The round trip time as it was measured, None where it was not."""

    @property
    def delivered(self) -> bool:
        """True when the file is known to be whole at its destination."""

    def get(self, make_sink: MakeSink) -> None:
        """Fetch the file. Raises TftpError or OSError; what `make_sink` made is committed then, or aborted."""

    def put(self, source: Source) -> None:
        """Send all of `source`; closing it is the caller's. Raises TftpError or OSError."""
