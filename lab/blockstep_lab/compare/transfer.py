"""What one transfer of a comparison is: how the file is sent, and what is counted on the way."""

from __future__ import annotations

from dataclasses import dataclass

from blockstep_lab.compare.observing import device_counts

__all__ = ["POINTS", "Points", "Transfer"]

Points = tuple[tuple[float, int], ...]

POINTS = 400
"""About how many points a curve has in the record."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    """What is to be moved, and how. `device` names the network device whose counters are kept, None: nobody's.

    `congestion` None leaves TCP what the system has. `content` is the sender's; a receiver alone does not need it.
    """

    transport: str
    blksize: int
    windowsize: int = 1
    congestion: str | None = None
    content: bytes = b""
    name: str = "file"
    max_time_s: float = 60.0
    device: str | None = None
    has_ethernet: bool = False

    @property
    def is_stream(self) -> bool:
        """Whether the kernel repairs what is lost."""
        return self.transport != "udp"

    def counts(self) -> tuple[int, int]:
        """Bytes and packets that the device has sent so far."""
        return device_counts(self.device, has_ethernet=self.has_ethernet) if self.device else (0, 0)
