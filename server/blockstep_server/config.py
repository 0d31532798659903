"""What one server was told to do, as one frozen value.

Decided here: the defaults and which settings contradict each other. A `ServerConfig` that exists is usable; what is not
usable is refused with `LocalError` and a sentence for the user. Nothing here reads files, environment or network.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from blockstep.protocol.errors import LocalError
from blockstep.protocol.framing import PAYLOAD_LARGEST
from blockstep.protocol.options import BLKSIZE_LARGEST, BLKSIZE_SMALLEST, WINDOWSIZE_LARGEST, Limits
from blockstep.protocol.stream import stream_limits
from blockstep_server.upload_policy import UploadPolicy
from blockstep_server.values import Bind, Mtu, Network, PortRange

__all__ = ["LogFormat", "ServerConfig"]


class LogFormat(Enum):
    """How a line of the log is written."""

    TEXT = "text"
    JSON = "json"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerConfig:
    """Everything `blockstep serve` can be told. Times in seconds, sizes in bytes, None where there is no limit.

    An entry of `tcp` without a host means the hosts of `binds`.
    """

    root: Path
    binds: tuple[Bind, ...] = (Bind(""),)
    port: int = 69
    udp: bool = True
    tcp: tuple[Bind, ...] = ()
    unix: tuple[Path, ...] = ()
    unix_mode: int = 0o600
    request_timeout_s: float = 10.0
    tls_cert: Path | None = None
    tls_key: Path | None = None
    tls_client_ca: Path | None = None
    control: Path | None = None
    uploads: UploadPolicy = UploadPolicy.NONE
    max_upload_bytes: int | None = None
    single_port: bool = False
    port_range: PortRange | None = None
    blksize_max: int | None = None
    windowsize_max: int = 64
    refuse: frozenset[str] = frozenset()
    timeout_s: float = 4.0
    retries: int = 6
    max_time_s: float | None = None
    max_sessions: int = 1000
    max_per_client: int | None = None
    max_half_open: int = 256
    strict_source: bool = False
    allow: tuple[Network, ...] = ()
    deny: tuple[Network, ...] = ()
    drain_timeout_s: float = 30.0
    mtu: Mtu | None = None
    log_format: LogFormat = LogFormat.TEXT
    one_off: bool = False
    verbosity: int = 0
    user: str | None = None
    pidfile: Path | None = None
    pcap: Path | None = None
    debug_no_fork: bool = False
    sandbox: bool = True
    nice: int = 0

    def __post_init__(self) -> None:
        if self.single_port and self.port_range:
            raise LocalError("--single-port and --port-range exclude each other: one port is used, or a range of them")
        if self.max_upload_bytes is not None and self.uploads is UploadPolicy.NONE:
            raise LocalError("--max-upload needs --upload create or --upload replace")
        if not (self.udp or self.tcp or self.unix):
            raise LocalError("--no-udp leaves nothing to listen on: add --tcp PORT or --unix PATH")
        if self.pcap is not None and not self.udp:
            raise LocalError("--pcap records datagrams, and --no-udp leaves none; what TCP sends only tcpdump sees")
        self._check_tls()
        self._check_ranges()
        _ = self.limits

    def _check_tls(self) -> None:
        if self.tls_cert is None and (self.tls_key or self.tls_client_ca):
            raise LocalError("--tls-key and --tls-client-ca need --tls-cert")
        if self.tls_cert is not None and not self.tcp:
            raise LocalError(
                "--tls-cert protects what --tcp listens on, and there is no --tcp; TFTP over UDP has no TLS"
            )

    def _check_ranges(self) -> None:
        _within("--port", self.port, 0, 65535)
        _within("--blksize-max", self.blksize_max, BLKSIZE_SMALLEST, PAYLOAD_LARGEST)
        _within("--request-timeout", self.request_timeout_s, 0.01, 10_000_000)
        _within("--windowsize-max", self.windowsize_max, 1, WINDOWSIZE_LARGEST)
        _within("--timeout", self.timeout_s, 0.01, 255)
        _within("--retries", self.retries, 0, 1000)
        _within("--max-sessions", self.max_sessions, 1, 1_000_000)
        _within("--max-per-client", self.max_per_client, 1, 1_000_000)
        _within("--max-half-open", self.max_half_open, 1, 1_000_000)
        _within("--max-time", self.max_time_s, 0.01, 10_000_000)
        _within("--nice", self.nice, 0, 19)
        _within("--drain-timeout", self.drain_timeout_s, 0, 10_000_000)

    @property
    def limits(self) -> Limits:
        """What option negotiation grants in datagrams. LocalError if `refuse` names an option that does not exist."""
        blksize_max = min(self.blksize_max or BLKSIZE_LARGEST, BLKSIZE_LARGEST)
        return Limits(blksize_max=blksize_max, windowsize_max=self.windowsize_max, refuse=self.refuse)

    @property
    def stream_limits(self) -> Limits:
        """What it grants on a stream."""
        return stream_limits(blksize_max=self.blksize_max or PAYLOAD_LARGEST, refuse=self.refuse)

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
