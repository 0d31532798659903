"""The process that makes the hosts of a lab and then routes between them.

Decided here: the order of its life. It leaves the program's network for one of its own, makes the hosts, hands their
descriptors to the program, asks for real-time scheduling and routes. It ends when the program says so or is gone, also
by kill -9: then it first ends whatever still runs on the hosts. Namespaces and devices end with the last descriptor.
Not known here: what is asked of the lab.

It is a forked process and no thread: a thread would share the interpreter lock with what it is to measure.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blockstep.protocol.errors import LocalError
from blockstep.transport.pcapng_writer import PcapngWriter
from blockstep_lab.conditions import Conditions
from blockstep_lab.netns import plumbing
from blockstep_lab.netns.forked import close_all_but
from blockstep_lab.netns.host_builder import BuiltHost, build_host, choose_carrier, in_helper
from blockstep_lab.netns.namespaces import LabUnavailable, unshare_network
from blockstep_lab.netns.plumbing import Plan
from blockstep_lab.netns.ports import PacketPort, Port, TunPort
from blockstep_lab.netns.router import LinkSetup, Router
from blockstep_lab.netns.sweep import end_processes
from blockstep_lab.netns.syscalls import sharpen_timers, take_short_turns
from blockstep_lab.rules import Rule

__all__ = ["LARGEST_MESSAGE", "LabSetup", "link_from_json", "link_to_json", "run_router"]

LARGEST_MESSAGE = 1 << 17
_PRIORITY = 50


@dataclass(frozen=True, slots=True)
class LabSetup:
    """What the process is told before it starts. `carrier` None is the best there is."""

    plans: Sequence[Plan]
    link: LinkSetup
    carrier: str | None = None
    capture: Path | None = None


def run_router(control: socket.socket, setup: LabSetup, program: int) -> None:
    """The whole life of the process; `program` is a pidfd of the one that it works for."""
    # The program ends the router; a Ctrl-C at the terminal reaches both and must not end it before its report.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.set_wakeup_fd(-1)
    close_all_but({0, 1, 2, control.fileno(), program})
    try:
        router, hosts, facts, descriptors = _build(setup)
    except LabUnavailable as error:
        control.send(json.dumps({"unavailable": str(error)}).encode())
        return
    except LocalError as error:
        control.send(json.dumps({"error": str(error)}).encode())
        return
    facts["scheduler"] = _become_punctual()
    socket.send_fds(control, [json.dumps(facts).encode()], descriptors)
    router.watch(control.fileno(), lambda: _obey(router, control))
    router.watch(program, router.stop)
    router.run()
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    end_processes({os.fstat(host.net).st_ino for host in hosts})


def _build(setup: LabSetup) -> tuple[Router, list[BuiltHost], dict[str, Any], list[int]]:
    carrier = choose_carrier(setup.carrier)
    capture = None if setup.capture is None else PcapngWriter(setup.capture, interface="lab")
    as_user = unshare_network()
    plumbing.silence_ipv6()
    names = {plan.name: plan.address for plan in setup.plans}
    hosts = [build_host(plan, carrier, names) for plan in setup.plans]
    ports = _open_ports(hosts)
    left = {plan.address: ports[plan.name] for plan in setup.plans if plan.side == "left"}
    right = {plan.address: ports[plan.name] for plan in setup.plans if plan.side == "right"}
    descriptors, layout = [], []
    for host in hosts:
        layout.append({"mount": host.mount is not None})
        descriptors += [host.net] if host.mount is None else [host.net, host.mount]
    if as_user:
        descriptors.append(os.open("/proc/self/ns/user", os.O_RDONLY | os.O_CLOEXEC))
    facts = {"carrier": carrier, "as_user": as_user, "layout": layout, "descriptors": descriptors}
    return Router(left, right, setup.link, capture=capture), hosts, facts, descriptors


def _open_ports(hosts: list[BuiltHost]) -> dict[str, Port]:
    pairs = [host for host in hosts if host.tun is None]
    if pairs:
        names, mtu = [host.plan.name for host in pairs], pairs[0].plan.mtu

        def raise_ends() -> tuple[dict[str, Any], list[int]]:
            plumbing.raise_pair_ends(names, mtu)
            return {}, []

        in_helper(raise_ends)
    return {
        host.plan.name: PacketPort(host.plan.name, host.mac, host.plan.mtu) if host.tun is None else TunPort(host.tun)
        for host in hosts
    }


def _become_punctual() -> str:
    """Real-time scheduling if we may; what we got, in words."""
    sharpen_timers()
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(_PRIORITY))
    except OSError as error:
        turns = ", short turns" if take_short_turns() else ""
        return f"SCHED_OTHER{turns} (SCHED_FIFO: {error.strerror})"
    return f"SCHED_FIFO {_PRIORITY}"


def _obey(router: Router, control: socket.socket) -> None:
    raw = control.recv(LARGEST_MESSAGE)
    order: dict[str, Any] = json.loads(raw) if raw else {"do": "stop"}
    if order["do"] == "change":
        router.change(link_from_json(order["link"]))
    elif order["do"] == "stop":
        router.stop()
    with contextlib.suppress(OSError):
        control.send(router.report().to_json().encode())


def link_to_json(link: LinkSetup) -> dict[str, Any]:
    """A link as values that JSON has."""
    up, down, rules = str(link.up), str(link.down), [str(rule) for rule in link.rules]
    return {"up": up, "down": down, "seed": link.seed, "rules": rules, "mend": link.mend}


def link_from_json(said: dict[str, Any]) -> LinkSetup:
    """The link that `link_to_json` wrote."""
    up, down = Conditions.parse(said["up"]), Conditions.parse(said["down"])
    return LinkSetup(up, down, said["seed"], [Rule.parse(text) for text in said["rules"]], said["mend"])
