"""What a reader must know about the machine and the program to judge a number, or to repeat it."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from pathlib import Path

from blockstep import __version__
from blockstep_lab.compare.grid import Grid
from blockstep_lab.compare.results import Method

__all__ = ["available_congestions", "cpu_model", "describe_method"]

_CPUINFO = Path("/proc/cpuinfo")
_CONGESTIONS = Path("/proc/sys/net/ipv4/tcp_available_congestion_control")


def describe_method(
    grid: Grid,
    *,
    where: str,
    host: str | None,
    command: tuple[str, ...],
    digest: str,
    file_name: str,
    file_bytes: int,
    file_sha256: str,
    max_time_s: float,
    mtu: int,
) -> Method:
    """The method of a comparison that begins now; carrier and scheduler are filled in when there is a lab."""
    return Method(
        where=where,
        host=host,
        command=command,
        grid=digest,
        seed=grid.seed,
        repeats=grid.repeats,
        file_name=file_name,
        file_bytes=file_bytes,
        file_sha256=file_sha256,
        max_time_s=max_time_s,
        started_at=datetime.now(UTC).isoformat(timespec="seconds"),
        elapsed_s=0.0,
        blockstep=__version__,
        python=platform.python_version(),
        kernel=f"{platform.system()} {platform.release()}",
        cpu=cpu_model(),
        processors=len(os.sched_getaffinity(0)),
        carrier=None,
        scheduler=None,
        link_mtu=mtu,
    )


def cpu_model() -> str:
    """As the kernel names it, or the architecture."""
    try:
        lines = _CPUINFO.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def available_congestions() -> list[str]:
    """What this kernel's TCP can do; cubic where it does not say."""
    try:
        return _CONGESTIONS.read_text().split()
    except OSError:
        return ["cubic"]
