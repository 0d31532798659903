"""What one server was told to do, as one frozen value.

Decided here: the defaults and which settings contradict each other. A `ServerConfig` that exists is usable; what is not
usable is refused with `LocalError` and a sentence for the user. Nothing here reads files, environment or network.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from blockstep.protocol.errors import LocalError
from blockstep.protocol.options import BLKSIZE_LARGEST, BLKSIZE_SMALLEST, WINDOWSIZE_LARGEST, Limits
from blockstep_server.upload_policy import UploadPolicy
from blockstep_server.values import Bind, Mtu, Network, PortRange

__all__ = ["LogFormat", "ServerConfig"]


class LogFormat(Enum):
    """How a line of the log is written."""

    TEXT = "text"
    JSON = "json"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerConfig:
    """Everything `blockstep serve` can be told. Times in seconds, sizes in bytes, None where there is no limit."""

    root: Path
    binds: tuple[Bind, ...] = (Bind(""),)
    port: int = 69
    uploads: UploadPolicy = UploadPolicy.NONE
    max_upload_bytes: int | None = None
    single_port: bool = False
    port_range: PortRange | None = None
    blksize_max: int = 65464
    windowsize_max: int = 64
    refuse: frozenset[str] = frozenset()
    timeout_s: float = 4.0
    retries: int = 6
    max_time_s: float | None = None
    max_sessions: int = 1000
    max_per_client: int | None = None
    allow: tuple[Network, ...] = ()
    deny: tuple[Network, ...] = ()
    drain_timeout_s: float = 30.0
    mtu: Mtu | None = None
    log_format: LogFormat = LogFormat.TEXT
    one_off: bool = False
    verbosity: int = 0
    user: str | None = None
    pidfile: Path | None = None
    debug_no_fork: bool = False

    def __post_init__(self) -> None:
        if self.single_port and self.port_range:
            raise LocalError("--single-port and --port-range exclude each other: one port is used, or a range of them")
        if self.max_upload_bytes is not None and self.uploads is UploadPolicy.NONE:
            raise LocalError("--max-upload needs --upload create or --upload replace")
        self._check_ranges()
        _ = self.limits

    def _check_ranges(self) -> None:
        _within("--port", self.port, 0, 65535)
        _within("--blksize-max", self.blksize_max, BLKSIZE_SMALLEST, BLKSIZE_LARGEST)
        _within("--windowsize-max", self.windowsize_max, 1, WINDOWSIZE_LARGEST)
        _within("--timeout", self.timeout_s, 0.01, 255)
        _within("--retries", self.retries, 0, 1000)
        _within("--max-sessions", self.max_sessions, 1, 1_000_000)
        _within("--max-per-client", self.max_per_client, 1, 1_000_000)
        _within("--max-time", self.max_time_s, 0.01, 10_000_000)
        _within("--drain-timeout", self.drain_timeout_s, 0, 10_000_000)

    @property
    def limits(self) -> Limits:
        """What option negotiation grants. LocalError if `refuse` names an option that does not exist."""
        return Limits(blksize_max=self.blksize_max, windowsize_max=self.windowsize_max, refuse=self.refuse)

    @property
    def give_up_s(self) -> float:
        """How long a peer may be silent before its transfer ends: `timeout_s`, `retries` times over."""
        return self.timeout_s * max(1, self.retries)

    @property
    def writable(self) -> bool:
        """True if clients may upload."""
        return self.uploads is not UploadPolicy.NONE


def _within(name: str, value: float | None, low: float, high: float) -> None:
    if value is not None and not low <= value <= high:
        raise LocalError(f"{name} is a number from {low} to {high}, not {value}")
