"""A lab in the hands of a program: hosts, a bad link between them, and what it says about itself.

    with Lab("loss 1% delay 20ms", "delay 20ms", seed=7) as lab:
        with lab.right.popen(["blockstep", "serve", "--port", "6969"]):
            lab.left.run(["blockstep", "get", f"{lab.right.address}:6969/kernel"])
        print(lab.checks().to_table())

Decided here: names and addresses of the hosts, and that a change of the link begins a new run, with counters at zero
and fates from the start of the seed. Not known here: how it is carried.
"""

from __future__ import annotations

import json
import os
import secrets
import select
import socket
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from blockstep.protocol.errors import LocalError
from blockstep_lab.conditions import Conditions
from blockstep_lab.netns import plumbing
from blockstep_lab.netns.checks import HostCounters, LabChecks, RouterReport
from blockstep_lab.netns.forked import fork_child, reap
from blockstep_lab.netns.host import Host
from blockstep_lab.netns.host_counters import difference, read_counters
from blockstep_lab.netns.namespaces import LabUnavailable, Namespaces
from blockstep_lab.netns.plumbing import Plan
from blockstep_lab.netns.router import LinkSetup
from blockstep_lab.netns.router_process import LARGEST_MESSAGE, LabSetup, link_to_json, run_router
from blockstep_lab.netns.sweep import end_processes
from blockstep_lab.rules import Rule

__all__ = ["Lab"]

_FIRST = {"left": "198.18.0.{}", "right": "198.19.0.{}"}
# Their descriptors come in one message, which takes 253.
_MOST_HOSTS = 120
_PATIENCE_S = 60.0
_MTUS = range(576, 65_536)


class Lab:
    """A running lab from construction to `stop`; also a context manager.

    Hosts are `left`, `left2`, ... and `right`, `right2`, ...; all on the left share one link with all on the right.
    Conditions are `Conditions` or netem's words, `rules` as for the relay (up is left to right). Without a seed it
    takes a random one; `seed` holds it. `mend_checksums` lets corruption reach the application. `congestion` names the
    hosts' TCP congestion control. `carrier` is `"tun"`, `"veth"` or the best there is. `capture` is a file for the UDP
    datagrams as they enter the link (pcapng).

    Raises `LabUnavailable` where the system, the user or a missing library forbids it, with a reason.
    """

    def __init__(
        self,
        conditions_left_to_right: Conditions | str = "",
        conditions_right_to_left: Conditions | str = "",
        *,
        seed: int | str | None = None,
        rules: Iterable[Rule | str] = (),
        mend_checksums: bool = False,
        congestion: str | None = None,
        mtu: int = 1500,
        hosts_left: int = 1,
        hosts_right: int = 1,
        carrier: str | None = None,
        capture: Path | None = None,
    ) -> None:
        plumbing.load_pyroute2()
        self.seed = str(secrets.randbelow(1 << 32) if seed is None else seed)
        up, down = Conditions.of(conditions_left_to_right), Conditions.of(conditions_right_to_left)
        self._link = LinkSetup(up, down, self.seed, [Rule.of(rule) for rule in rules], mend_checksums)
        if mtu not in _MTUS:
            raise LocalError(f"the MTU goes from {_MTUS[0]} to {_MTUS[-1]} bytes, not {mtu}")
        if min(hosts_left, hosts_right) < 1 or hosts_left + hosts_right > _MOST_HOSTS:
            raise LocalError(f"a lab has at least one host on each side, and {_MOST_HOSTS} at most")
        self._congestion = congestion
        sides = [("left", index + 1) for index in range(hosts_left)]
        sides += [("right", index + 1) for index in range(hosts_right)]
        plans = [_plan(side, number, mtu=mtu, congestion=congestion) for side, number in sides]
        self._start(LabSetup(plans, self._link, carrier, capture))

    def _start(self, setup: LabSetup) -> None:
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        program = os.pidfd_open(os.getpid())
        try:
            with theirs:
                self.router_pid = fork_child(lambda: run_router(theirs, setup, program))
            self._facts, namespaces = self._hear_ready()
        except BaseException:
            self._control.close()
            raise
        finally:
            os.close(program)
        self._shared_user = namespaces[0].user
        self.hosts = {
            plan.name: Host(plan.name, plan.address, each) for plan, each in zip(setup.plans, namespaces, strict=True)
        }
        self._running = True
        self._baseline = self._host_counters()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    @property
    def left(self) -> Host:
        """The first host on the left."""
        return self.hosts["left"]

    @property
    def right(self) -> Host:
        """The first host on the right."""
        return self.hosts["right"]

    @property
    def conditions(self) -> tuple[Conditions, Conditions]:
        """Left to right, right to left."""
        return self._link.up, self._link.down

    @property
    def scheduler(self) -> str:
        """What the router got: `SCHED_FIFO 50`, or `SCHED_OTHER` and why."""
        return str(self._facts["scheduler"])

    @property
    def carrier(self) -> str:
        """`"tun"` or `"veth"`."""
        return str(self._facts["carrier"])

    @property
    def names_resolve(self) -> bool:
        """Whether programs on the hosts can call each other by name."""
        return all(host.namespaces.mount is not None for host in self.hosts.values())

    def descriptors_in_router(self) -> dict[str, Namespaces]:
        """The numbers that the hosts' namespaces have in the router's process (for `/proc/PID/fd`)."""
        return _namespaces(self._facts, self._facts["descriptors"], list(self.hosts))

    def set_conditions(
        self,
        left_to_right: Conditions | str | None = None,
        right_to_left: Conditions | str | None = None,
        *,
        rules: Iterable[Rule | str] | None = None,
        seed: int | str | None = None,
    ) -> None:
        """Begins a new run, in force when this returns: counters at zero, fates from the start of the seed.

        None leaves a part as it is. What is under way still arrives.
        """
        link = self._link
        if left_to_right is not None:
            link = replace(link, up=Conditions.of(left_to_right))
        if right_to_left is not None:
            link = replace(link, down=Conditions.of(right_to_left))
        if rules is not None:
            link = replace(link, rules=[Rule.of(rule) for rule in rules])
        if seed is not None:
            link = replace(link, seed=str(seed))
        self._ask({"do": "change", "link": link_to_json(link)})
        self._link, self.seed = link, link.seed
        self._baseline = self._host_counters()

    def set_congestion(self, congestion: str | None) -> None:
        """TCP's congestion control on every host from its next connection on; None: the system's. LocalError."""
        for host in self.hosts.values():
            host.call(plumbing.set_congestion, host.address, congestion)
        self._congestion = congestion

    def checks(self) -> LabChecks:
        """What can be said about the run since it began or since the last `set_conditions`."""
        report = RouterReport.from_json(self._ask({"do": "report"}))
        now = self._host_counters()
        hosts = {name: difference(now[name], self._baseline[name]) for name in self.hosts}
        return LabChecks(
            seed=self.seed,
            carrier=self.carrier,
            scheduler=self.scheduler,
            kernel=f"Linux {os.uname().release}",
            left_to_right=report.up,
            right_to_left=report.down,
            hosts=hosts,
            rules=report.rules,
            ring_drops=report.ring_drops + sum(host.ring_drops for host in hosts.values()),
            under_way=report.under_way,
            no_room=report.no_room,
            send_errors=report.send_errors,
            strangers=report.strangers,
        )

    def stop(self) -> None:
        """Ends every process on the hosts, then the router; a second call does nothing."""
        if not self._running:
            return
        self._running = False
        networks = {os.fstat(host.namespaces.net).st_ino for host in self.hosts.values()}
        for host in self.hosts.values():
            host.end_everything()
        end_processes(networks)
        try:
            self._control.send(b'{"do": "stop"}')
        except OSError:
            pass  # somebody killed the router; the hosts are ours to end, and that is done
        finally:
            self._control.close()
            reap(self.router_pid, _PATIENCE_S)
            for host in self.hosts.values():
                replace(host.namespaces, user=None).close()
            if self._shared_user is not None:
                os.close(self._shared_user)

    def _host_counters(self) -> dict[str, HostCounters]:
        read = {name: host.call(read_counters, timeout_s=_PATIENCE_S) for name, host in self.hosts.items()}
        if self._congestion is None:
            return read
        return {name: replace(counters, congestion=self._congestion) for name, counters in read.items()}

    def _hear_ready(self) -> tuple[dict[str, Any], list[Namespaces]]:
        raw, descriptors, _, _ = socket.recv_fds(self._control, LARGEST_MESSAGE, 2 * _MOST_HOSTS + 1)
        facts: dict[str, Any] = json.loads(raw) if raw else {"error": "the router's process died; see above"}
        if "unavailable" in facts or "error" in facts:
            reap(self.router_pid, _PATIENCE_S)
            if "unavailable" in facts:
                raise LabUnavailable(facts["unavailable"])
            raise LocalError(facts["error"])
        return facts, list(
            _namespaces(facts, descriptors, [str(each) for each in range(len(facts["layout"]))]).values()
        )

    def _ask(self, order: dict[str, Any]) -> bytes:
        try:
            self._control.send(json.dumps(order).encode())
            ready, _, _ = select.select([self._control], [], [], _PATIENCE_S)
            answer = self._control.recv(LARGEST_MESSAGE) if ready else b""
        except OSError as error:
            raise LocalError(f"the lab's router is gone ({error})") from error
        if not answer:
            raise LocalError("the lab's router does not answer" if not ready else "the lab's router is gone")
        return answer


def _plan(side: str, number: int, *, mtu: int, congestion: str | None) -> Plan:
    name = side if number == 1 else f"{side}{number}"
    return Plan(name, _FIRST[side].format(number), side, mtu, congestion)


def _namespaces(facts: dict[str, Any], descriptors: list[int], names: list[str]) -> dict[str, Namespaces]:
    """The flat list of descriptors, sorted to the hosts; the user namespace is the last and everybody's."""
    rest = list(descriptors)
    user = rest.pop() if facts["as_user"] else None
    found = {}
    for name, layout in zip(names, facts["layout"], strict=True):
        net = rest.pop(0)
        found[name] = Namespaces(net, rest.pop(0) if layout["mount"] else None, user)
    return found
