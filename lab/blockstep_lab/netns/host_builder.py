"""Making one host: a child enters new namespaces, furnishes them, hands their descriptors back and ends.

Decided here: the order of steps, and what is handed back. A child for each host, because a process cannot go back from
a mount namespace that it made as an ordinary user, and because pyroute2 should end with it. Not known here: what a host
looks like from the inside (`plumbing`) and who asked.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from blockstep.protocol.errors import LocalError
from blockstep_lab.netns import plumbing
from blockstep_lab.netns.forked import fork_child, reap
from blockstep_lab.netns.namespaces import LabUnavailable, explain_refusal
from blockstep_lab.netns.plumbing import Plan
from blockstep_lab.netns.ports import open_tun
from blockstep_lab.netns.syscalls import CLONE_NEWNET, unshare

__all__ = ["CARRIERS", "BuiltHost", "build_host", "choose_carrier", "in_helper"]

CARRIERS = ("tun", "veth")
_LARGEST_MESSAGE = 1 << 16
_PATIENCE_S = 30.0

Answer = tuple[dict[str, Any], list[int]]


@dataclass(frozen=True, slots=True)
class BuiltHost:
    """A furnished host: descriptors of its namespaces, that of its TUN device or the Ethernet address of its pair."""

    plan: Plan
    net: int
    mount: int | None
    tun: int | None
    mac: str


def choose_carrier(wanted: str | None) -> str:
    """`"tun"` if its device may be opened, else `"veth"`; or what is wanted. LocalError for anything else."""
    if wanted is not None:
        if wanted not in CARRIERS:
            raise LocalError(f"no carrier {wanted!r}; there is {' and '.join(CARRIERS)}")
        return wanted
    return "tun" if os.access("/dev/net/tun", os.R_OK | os.W_OK) else "veth"


def build_host(plan: Plan, carrier: str, names: Mapping[str, str]) -> BuiltHost:
    """Makes one host in the user namespace of this process, which is the router. `names` are all addresses by name."""
    router = os.getpid()
    facts, descriptors = in_helper(lambda: _furnish(plan, carrier, dict(names), router))
    net, *rest = descriptors
    mount = rest.pop(0) if facts["mount"] else None
    return BuiltHost(plan, net, mount, rest[0] if rest else None, facts["mac"])


def in_helper(work: Callable[[], Answer]) -> Answer:
    """What `work` gives, done in a child that ends; LabUnavailable and LocalError arrive as themselves."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours:
        with theirs:
            pid = fork_child(lambda: _answer(theirs, work))
        raw, descriptors, _, _ = socket.recv_fds(ours, _LARGEST_MESSAGE, 8)
    status = reap(pid, _PATIENCE_S)
    if not raw or status:
        raise LocalError("a helper process of the lab died; its last words are above")
    said = json.loads(raw)
    if "unavailable" in said:
        raise LabUnavailable(said["unavailable"])
    if "error" in said:
        raise LocalError(said["error"])
    return said, descriptors


def _answer(control: socket.socket, work: Callable[[], Answer]) -> None:
    descriptors: list[int] = []
    try:
        said, descriptors = work()
    except LabUnavailable as error:
        said = {"unavailable": str(error)}
    except LocalError as error:
        said = {"error": str(error)}
    socket.send_fds(control, [json.dumps(said).encode()], descriptors)


def _furnish(plan: Plan, carrier: str, names: dict[str, str], router: int) -> Answer:
    try:
        unshare(CLONE_NEWNET)
        plumbing.silence_ipv6()
        descriptors = [os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)]
        tun = open_tun(plumbing.DEVICE) if carrier == "tun" else None
    except OSError as error:
        raise LabUnavailable(explain_refusal(error)) from error
    if tun is None:
        plumbing.add_pair(plan.name, router)
    mac = plumbing.configure(plan)
    mounted = plumbing.show_names(names)
    if mounted:
        descriptors.append(os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC))
    if tun is not None:
        descriptors.append(tun)
    return {"mac": mac, "mount": mounted}, descriptors
