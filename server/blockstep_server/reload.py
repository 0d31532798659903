"""What of a running server can change without a restart, as a comparison of two configurations.

What names a socket, a file or a process stays as it was when the server came up with the rights that took; limits and
permissions change for whoever asks next. A field is in one of the two tables, and a test holds that. No file is read
here and nothing is changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from enum import Enum
from typing import Final

from blockstep_server.config import ServerConfig

__all__ = ["LIMITS", "RESTART", "Reloaded", "limits_in_words", "merge"]

LIMITS: Final = {
    "uploads": "upload",
    "max_upload_bytes": "max-upload",
    "port_range": "port-range",
    "blksize_max": "blksize-max",
    "windowsize_max": "windowsize-max",
    "mtu": "mtu",
    "refuse": "refuse",
    "timeout_s": "timeout",
    "retries": "retries",
    "max_time_s": "max-time",
    "request_timeout_s": "request-timeout",
    "max_sessions": "max-sessions",
    "max_per_client": "max-per-client",
    "max_half_open": "max-half-open",
    "strict_source": "strict-source",
    "allow": "allow",
    "deny": "deny",
    "drain_timeout_s": "drain-timeout",
}
"""Field: its name on the command line. These hold for the next request after a reload."""

RESTART: Final = {
    "root": "root",
    "binds": "bind",
    "port": "port",
    "udp": "udp",
    "tcp": "tcp",
    "unix": "unix",
    "unix_mode": "unix-mode",
    "tls_cert": "tls-cert",
    "tls_key": "tls-key",
    "tls_client_ca": "tls-client-ca",
    "control": "control",
    "single_port": "single-port",
    "log_format": "log-format",
    "verbosity": "verbose",
    "one_off": "one-off",
    "debug_no_fork": "debug-no-fork",
    "user": "user",
    "sandbox": "sandbox",
    "nice": "nice",
    "pidfile": "pidfile",
    "pcap": "pcap",
}
"""The same for those that a restart takes."""


@dataclass(frozen=True, slots=True)
class Reloaded:
    """`config` is what holds now; `changed` says (before, after) in words; `restart` names what did not change."""

    config: ServerConfig
    changed: Mapping[str, tuple[object, object]]
    restart: tuple[str, ...]

    def __str__(self) -> str:
        """A sentence for the log."""
        changes = ", ".join(f"{name} {_shown(old)} -> {_shown(new)}" for name, (old, new) in self.changed.items())
        said = f"reloaded: {changes or 'nothing has changed'}"
        return f"{said}; only a restart changes {', '.join(self.restart)}" if self.restart else said


def merge(running: ServerConfig, wanted: ServerConfig) -> Reloaded:
    """`running` with the limits of `wanted`. LocalError where that contradicts itself; then nothing may change."""
    differing = {
        each.name for each in fields(ServerConfig) if getattr(running, each.name) != getattr(wanted, each.name)
    }
    config = replace(running, **{name: getattr(wanted, name) for name in LIMITS})
    before, after = limits_in_words(running), limits_in_words(config)
    changed = {word: (before[word], after[word]) for name, word in LIMITS.items() if name in differing}
    return Reloaded(config, changed, tuple(word for name, word in RESTART.items() if name in differing))


def limits_in_words(config: ServerConfig) -> dict[str, object]:
    """The limits by their names on the command line, in values that JSON has; None where there is no limit."""
    return {word: _plain(getattr(config, name)) for name, word in LIMITS.items()}


def _plain(value: object) -> object:
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, tuple | frozenset):
        return sorted(str(each) for each in value)
    return value if value is None or isinstance(value, int | float | str) else str(value)


def _shown(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(value) or "none"
    return "none" if value is None else str(value)
