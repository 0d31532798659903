"""What a host of the lab needs inside its namespaces: a device, an address, a route, names and quiet.

Decided here: how a host looks from the inside. Everything runs in a child that is already in the host's namespaces and
ends afterwards, so nothing of pyroute2 (which drives its sockets with asyncio) lives on in a process that forks or that
keeps time. Not known here: who that child is.

IPv6 is off: router solicitations and multicast reports would be packets that nobody sent, and each would draw a fate.
TCP forgets what it has learned when a connection ends (tcp_no_metrics_save): no run depends on the one before.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import importlib
import socket
import struct
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blockstep.protocol.errors import LocalError
from blockstep_lab.netns.namespaces import LabUnavailable
from blockstep_lab.netns.syscalls import (
    CLONE_NEWNS,
    bind_mount,
    make_mounts_private,
    mount_tmpfs,
    unmount_lazily,
    unshare,
)

__all__ = [
    "DEVICE",
    "NETWORK",
    "QUEUE",
    "Plan",
    "add_pair",
    "configure",
    "load_pyroute2",
    "raise_pair_ends",
    "set_congestion",
    "show_names",
    "silence_ipv6",
]

DEVICE = "lab0"
# Set aside for tests of networks (RFC 2544), so it means nobody outside.
NETWORK = "198.18.0.0/15"
# Packets that a device holds for the router: the default of 500 overflows when a window opens at once.
QUEUE = 10_000

_SYSCTL = Path("/proc/sys")
_HOSTS = Path("/etc/hosts")
_SIOCETHTOOL = 0x8946
_ETHTOOL_STXCSUM = 0x17
_IFF_UP = 0x1
_IFF_NOARP = 0x80


@dataclass(frozen=True, slots=True)
class Plan:
    """One host before it exists. `congestion` None leaves TCP what the system has; `mtu` in bytes."""

    name: str
    address: str
    side: str
    mtu: int = 1500
    congestion: str | None = None


def load_pyroute2() -> Any:
    """The library, which has no types; LabUnavailable names the extra that installs it."""
    try:
        return importlib.import_module("pyroute2")
    except ImportError as error:
        raise LabUnavailable("the lab's namespaces need pyroute2: pip install 'blockstep[lab]'") from error


@contextlib.contextmanager
def _netlink() -> Iterator[Any]:
    """Talks to the kernel about the network namespace of this process."""
    with warnings.catch_warnings():
        # What a library's own code is warned of is not for our users, nor for those whose warnings are errors.
        warnings.simplefilter("ignore")
        with load_pyroute2().IPRoute() as kernel:
            yield kernel


def add_pair(name: str, router_pid: int) -> None:
    """A pair of Ethernet devices: ours is DEVICE, the other end is `name` in the router's network namespace."""
    with _netlink() as kernel:
        kernel.link("add", ifname=DEVICE, kind="veth", peer={"ifname": name, "net_ns_pid": router_pid})
    _complete_checksums(DEVICE)


def configure(plan: Plan) -> str:
    """Brings DEVICE up with its address and the route to every other host; its Ethernet address, `""` for TUN."""
    with _netlink() as kernel:
        kernel.link("set", index=1, state="up")
        index = kernel.link_lookup(ifname=DEVICE)[0]
        _raise_link(kernel, index, plan.mtu)
        kernel.addr("add", index=index, address=plan.address, prefixlen=32)
        mac = kernel.get_links(index)[0].get_attr("IFLA_ADDRESS")
    set_congestion(plan.address, plan.congestion)
    _set("net/ipv4/tcp_no_metrics_save", "1")
    return mac or ""


def raise_pair_ends(names: list[str], mtu: int) -> None:
    """In the router's namespace: the other ends of the pairs, up and without ARP."""
    with _netlink() as kernel:
        for name in names:
            _raise_link(kernel, kernel.link_lookup(ifname=name)[0], mtu)


def _raise_link(kernel: Any, index: int, mtu: int) -> None:
    """Up and without ARP: there is one other end, and nobody to ask."""
    flags = _IFF_UP | _IFF_NOARP
    kernel.link("set", index=index, mtu=mtu, txqlen=QUEUE, flags=flags, change=flags)


def set_congestion(address: str, congestion: str | None) -> None:
    """The route to the other hosts, and with it what TCP does from its next connection on. LocalError for a wrong name.

    As a property of the route it may be any algorithm that the kernel has; the sysctl of a namespace takes only those
    that were allowed for everybody, and so may refuse cubic.
    """
    metrics = {"cc_algo": congestion} if congestion else {}
    with _netlink() as kernel:
        index = kernel.link_lookup(ifname=DEVICE)[0]
        try:
            kernel.route("replace", dst=NETWORK, oif=index, prefsrc=address, metrics=metrics)
        except load_pyroute2().NetlinkError as error:
            if not congestion:
                raise
            known = (_SYSCTL / "net/ipv4/tcp_available_congestion_control").read_text().split()
            raise LocalError(f"no TCP congestion control {congestion!r} here; there is {', '.join(known)}") from error


def silence_ipv6() -> None:
    """No IPv6 in this network namespace; before there are devices, so that none says a word."""
    for scope in ("all", "default"):
        _set(f"net/ipv6/conf/{scope}/disable_ipv6", "1")


def show_names(addresses: dict[str, str]) -> bool:
    """A mount namespace in which /etc/hosts knows the lab's hosts; False where mounting is refused.

    The file lies in memory. It is mounted over /tmp just as long as it takes to bind it to its place.
    """
    own = "".join(f"{address}\t{name}\n" for name, address in addresses.items())
    with contextlib.suppress(OSError):
        text = own + _HOSTS.read_text()
        unshare(CLONE_NEWNS)
        make_mounts_private()
        mount_tmpfs(Path("/tmp"))
        try:
            made = Path("/tmp/hosts")
            made.write_text(text)
            made.chmod(0o644)
            bind_mount(made, _HOSTS)
        finally:
            unmount_lazily(Path("/tmp"))
        return True
    return False


def _complete_checksums(device: str) -> None:
    """Packets that never leave the machine usually carry no checksum; the router hands on what it gets."""
    value = struct.pack("=II", _ETHTOOL_STXCSUM, 0)
    buffer = ctypes.create_string_buffer(value, len(value))
    request = struct.pack("16sP16x", device.encode(), ctypes.addressof(buffer))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, _SIOCETHTOOL, request)


def _set(name: str, value: str) -> None:
    with contextlib.suppress(FileNotFoundError):  # a kernel without IPv6 has nothing to silence
        (_SYSCTL / name).write_text(value)
