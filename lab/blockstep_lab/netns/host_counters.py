"""What a host's kernel has counted: read on the host, from the files that the kernel keeps for it.

Decided here: which counters speak about the lab. A packet that the device dropped on its way to the router (or from it)
makes a run void; a full socket buffer or a resend is the tested program's own affair, but good to know.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from blockstep_lab.netns.checks import HostCounters
from blockstep_lab.netns.plumbing import DEVICE

__all__ = ["difference", "parse_device", "parse_snmp", "read_counters"]

_NET = Path("/proc/self/net")
_DEFAULT_CONGESTION = Path("/proc/sys/net/ipv4/tcp_congestion_control")


def read_counters() -> HostCounters:
    """The counters of the host on which this process runs; `congestion` is the default, which a route may change."""
    received, sent, drops = parse_device((_NET / "dev").read_text(), DEVICE)
    snmp = parse_snmp((_NET / "snmp").read_text())
    return HostCounters(
        sent=sent,
        received=received,
        ring_drops=drops,
        udp_buffer_drops=snmp.get("Udp", {}).get("RcvbufErrors", 0),
        tcp_resends=snmp.get("Tcp", {}).get("RetransSegs", 0),
        congestion=_DEFAULT_CONGESTION.read_text().strip(),
    )


def difference(now: HostCounters, before: HostCounters) -> HostCounters:
    """What was counted in between."""
    names = ("sent", "received", "ring_drops", "udp_buffer_drops", "tcp_resends")
    return replace(now, **{name: getattr(now, name) - getattr(before, name) for name in names})


def parse_device(text: str, device: str) -> tuple[int, int, int]:
    """Packets received, sent and dropped (both ways) by a device, from /proc/net/dev."""
    for line in text.splitlines():
        name, _, numbers = line.partition(":")
        if name.strip() == device:
            fields = [int(each) for each in numbers.split()]
            return fields[1], fields[9], fields[3] + fields[11]
    return 0, 0, 0


def parse_snmp(text: str) -> dict[str, dict[str, int]]:
    """The tables of /proc/net/snmp: pairs of lines, names and then values."""
    lines = [line.split() for line in text.splitlines()]
    return {
        names[0].rstrip(":"): dict(zip(names[1:], map(int, values[1:]), strict=True))
        for names, values in zip(lines[::2], lines[1::2], strict=True)
    }
