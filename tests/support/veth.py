"""Two hosts on a plain cable: network namespaces with a pair of Ethernet devices and nothing else between them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from blockstep_lab.netns.forked import fork_child, reap
from blockstep_lab.netns.host import Host
from blockstep_lab.netns.namespaces import Namespaces
from blockstep_lab.netns.plumbing import load_pyroute2
from blockstep_lab.netns.syscalls import CLONE_NEWNET, unshare

__all__ = ["two_hosts"]

_ADDRESSES = ("198.18.0.1", "198.18.0.2")


@contextmanager
def two_hosts() -> Iterator[tuple[Host, Host]]:
    """Both ends of the cable; for root. What runs on them is ended."""
    hosts = [Host(address, address, Namespaces(_new_network())) for address in _ADDRESSES]
    try:
        pid = hosts[1].start(_wait).pid
        hosts[0].call(_lay_cable, pid)
        for host in hosts:
            host.call(_connect, host.address)
        yield hosts[0], hosts[1]
    finally:
        for host in hosts:
            host.end_everything()
            host.namespaces.close()


def _new_network() -> int:
    """A network namespace, held by a descriptor."""
    ready, theirs = os.pipe()
    hold, release = os.pipe()

    def body() -> None:
        unshare(CLONE_NEWNET)
        os.close(release)
        os.write(theirs, b"x")
        os.read(hold, 1)

    pid = fork_child(body)
    os.close(hold)
    os.read(ready, 1)
    network = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    for descriptor in (ready, theirs, release):
        os.close(descriptor)
    reap(pid, 5.0)
    return network


def _wait() -> None:
    os.read(os.pipe()[0], 1)


def _lay_cable(other_pid: int) -> None:
    with load_pyroute2().IPRoute() as kernel:
        kernel.link("add", ifname="cable", kind="veth", peer={"ifname": "cable", "net_ns_pid": other_pid})


def _connect(address: str) -> None:
    with load_pyroute2().IPRoute() as kernel:
        kernel.link("set", index=1, state="up")
        index = kernel.link_lookup(ifname="cable")[0]
        kernel.addr("add", index=index, address=address, prefixlen=24)
        kernel.link("set", index=index, state="up")
