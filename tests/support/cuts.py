"""Ways in which a host's own kernel refuses to send, for as long as a test says.

Each is what an administrator's hand or a flapping network does: a firewall rule on output (EPERM), a route that is
forbidden (EACCES), unreachable (EHOSTUNREACH) or gone (ENETUNREACH), a device whose queue takes nothing (ENOBUFS, which
Linux reports only to a socket with IP_RECVERR).
"""

from __future__ import annotations

import errno
import importlib
from collections.abc import Iterator
from contextlib import contextmanager

from blockstep_lab.netns.host import Host
from blockstep_lab.netns.plumbing import DEVICE, load_pyroute2

__all__ = ["CUTS", "cut"]

_ROUTES = {errno.EACCES: "prohibit", errno.EHOSTUNREACH: "unreachable", errno.ENETUNREACH: "throw"}
CUTS = (errno.EPERM, *_ROUTES)
_IPV4, _DROP = 2, 0
_QUEUE = 1000


@contextmanager
def cut(host: Host, peer: Host, error: int) -> Iterator[None]:
    """What `host` sends to `peer` fails with `error`, one of CUTS or ENOBUFS."""
    host.call(_change, "add", peer.address, error)
    try:
        yield
    finally:
        host.call(_change, "del", peer.address, error)


def _change(command: str, address: str, error: int) -> None:
    if error == errno.EPERM:
        _change_firewall(command)
        return
    with load_pyroute2().IPRoute() as kernel:
        if error == errno.ENOBUFS:
            device = kernel.link_lookup(ifname=DEVICE)[0]
            kernel.tc("replace", "pfifo", device, root=True, limit=0 if command == "add" else _QUEUE)
        else:
            kernel.route(command, dst=f"{address}/32", type=_ROUTES[error])


def _change_firewall(command: str) -> None:
    load_pyroute2()
    with importlib.import_module("pyroute2.nftables.main").NFTables(nfgen_family=_IPV4) as firewall:
        firewall.table(command, name="cut")
        if command == "add":
            firewall.chain("add", table="cut", name="out", hook="output", type="filter", policy=_DROP)
