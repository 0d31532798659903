"""A relay in a process of its own: one lossy UDP hop for anybody's client and server.

    with Relay(upstream=("127.0.0.1", port), conditions_up="loss 5%", rules=["drop DATA 3 once"], seed=7) as relay:
        fetch("kernel", relay.address)
        print(relay.report().to_table())

Decided here: that it is a *forked process* and not a thread. A thread would share the interpreter lock with whatever
runs beside it, usually a test's own client or server, and each hand-over may take 5 ms: it would impair what it
measures. A fork takes 1 ms, a fresh interpreter over 40. The child closes every descriptor that is not its own, so that
a port which the parent closes is closed, and it ends when the parent does. Not known here: how packets are relayed;
that is `relay_loop`.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import resource
import secrets
import select
import signal
import socket
import sys
import traceback
import warnings
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from blockstep.protocol.errors import LocalError
from blockstep.transport.pcapng_writer import PcapngWriter
from blockstep_lab.conditions import Conditions
from blockstep_lab.endpoints import LOOPBACK, Address, Endpoint
from blockstep_lab.relay_capture import RelayCapture
from blockstep_lab.relay_loop import RelayLoop, RelaySetup
from blockstep_lab.relay_ports import bound_socket
from blockstep_lab.relay_report import RelayReport
from blockstep_lab.rules import Rule

__all__ = ["Relay"]

_LARGEST_MESSAGE = 1 << 17
_PATIENCE_S = 5.0


class Relay:
    """A running relay from construction to `stop`; also a context manager.

    `listen` is bound at once (port 0: any free port) and `address` says where; OSError if it can not be had. Conditions
    are `Conditions` or netem's words, rules `Rule` or text. `up` is client to server. Without a seed it takes a random
    one. `pcap` is a file for all packets with their fates (LocalError if it cannot be made). `setup` is what it started
    with, `pid` its process.
    """

    def __init__(
        self,
        upstream: tuple[str, int],
        *,
        listen: tuple[str, int] = (LOOPBACK, 0),
        conditions_up: Conditions | str = "",
        conditions_down: Conditions | str = "",
        rules: Iterable[Rule | str] = (),
        seed: int | str | None = None,
        idle_s: float = 120.0,
        most_ports: int = 2048,
        pcap: Path | str | None = None,
    ) -> None:
        listen_family, listen_address = Endpoint(*listen).resolve_udp()
        family, upstream_address = Endpoint(*upstream).resolve_udp(prefer=listen_family)
        self.setup = RelaySetup(
            upstream=upstream_address,
            upstream_family=family,
            conditions_up=Conditions.of(conditions_up),
            conditions_down=Conditions.of(conditions_down),
            rules=tuple(Rule.of(rule) for rule in rules),
            seed=str(secrets.randbelow(1 << 32) if seed is None else seed),
            idle_s=idle_s,
            most_ports=most_ports,
        )
        self._final: RelayReport | None = None
        with ExitStack() as until_forked:
            listener = until_forked.enter_context(bound_socket(listen_family, listen_address))
            writer = until_forked.enter_context(PcapngWriter(pcap, "link")) if pcap is not None else None
            self.address: Address = listener.getsockname()
            self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            with theirs:
                self.pid = _fork_child(_Inherited(listener, theirs, writer), self.setup)
        try:
            self._hear()  # the child is ready: it holds no descriptor of ours any more
        except LocalError:
            self._let_go()
            raise

    @property
    def seed(self) -> str:
        """What decides the fates: the same seed, the same fates."""
        return self.setup.seed

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def report(self) -> RelayReport:
        """What was counted so far, also after `stop`."""
        if self._final is not None:
            return self._final
        return RelayReport.from_json(self._ask({"do": "report"}))

    def change(
        self,
        *,
        up: Conditions | str | None = None,
        down: Conditions | str | None = None,
        rules: Sequence[Rule | str] | None = None,
    ) -> None:
        """New conditions or rules, in force when this returns; None leaves a part as it is."""
        order: dict[str, Any] = {"do": "change"}
        order["up"] = None if up is None else str(Conditions.of(up))
        order["down"] = None if down is None else str(Conditions.of(down))
        order["rules"] = None if rules is None else [str(Rule.of(rule)) for rule in rules]
        self._ask(order)

    def stop(self) -> RelayReport:
        """Ends the relay, waits for its process, and gives the last report; a second call only gives the report."""
        if self._final is None:
            try:
                self._final = RelayReport.from_json(self._ask({"do": "stop"}))
            finally:
                self._let_go()
        return self._final

    def _let_go(self) -> None:
        self._control.close()
        _reap(self.pid)

    def _ask(self, order: dict[str, Any]) -> bytes:
        try:
            self._control.send(json.dumps(order).encode())
        except OSError as error:
            raise LocalError(f"the relay's process is gone ({error})") from error
        return self._hear()

    def _hear(self) -> bytes:
        try:
            ready = _is_readable(self._control.fileno())
            answer = self._control.recv(_LARGEST_MESSAGE) if ready else b""
        except OSError as error:
            raise LocalError(f"the relay's process is gone ({error})") from error
        if not answer:
            raise LocalError("the relay's process does not answer" if not ready else "the relay's process is gone")
        return answer


def _is_readable(descriptor: int) -> bool:
    """Whether it can be read within our patience. `poll`, because descriptors may be above what `select` takes."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(_PATIENCE_S * 1000))


def _reap(pid: int) -> None:
    """Waits for a child that has been told to end; one that does not is killed."""
    descriptor = os.pidfd_open(pid)
    try:
        if not _is_readable(descriptor):
            os.kill(pid, signal.SIGKILL)
    finally:
        os.close(descriptor)
    os.waitpid(pid, 0)


class _Inherited(NamedTuple):
    """What the child keeps of its parent's."""

    listener: socket.socket
    control: socket.socket
    writer: PcapngWriter | None

    def descriptors(self) -> set[int]:
        return {each.fileno() for each in self if each is not None}


def _fork_child(inherited: _Inherited, setup: RelaySetup) -> int:
    parent = os.getpid()
    with warnings.catch_warnings():
        # From Python 3.12 on a fork warns when there are threads. The child takes no lock that a thread could hold.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        _run_child(inherited, setup, parent)
        status = 0
    except BaseException:  # noqa: BLE001 - whatever it is, this process ends here and must say why
        os.write(sys.__stderr__.fileno() if sys.__stderr__ else 2, traceback.format_exc().encode())
    finally:
        # Never back into the parent's frames, its atexit handlers or its buffers.
        os._exit(status)


def _run_child(inherited: _Inherited, setup: RelaySetup, parent: int) -> None:
    # The parent ends the relay; a Ctrl-C at the terminal reaches both and must not end it before its report.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    signal.set_wakeup_fd(-1)
    listener, control, writer = inherited
    _close_all_but({0, 1, 2} | inherited.descriptors())
    _raise_file_limit(2 * setup.most_ports + 16)
    gc.freeze()
    gc.disable()
    loop = RelayLoop(listener, setup, None if writer is None else RelayCapture(writer))
    control.setblocking(False)
    loop.watch(control, lambda: _obey(loop, control))
    control.send(b"ready")
    loop.run(on_sweep=lambda: loop.stop() if os.getppid() != parent else None)


def _obey(loop: RelayLoop, control: socket.socket) -> None:
    try:
        raw = control.recv(_LARGEST_MESSAGE)
    except ConnectionResetError:  # the parent went away without reading our last answer
        raw = b""
    order = json.loads(raw) if raw else {"do": "stop"}
    if order["do"] == "change":
        up, down = (None if order[key] is None else Conditions.parse(order[key]) for key in ("up", "down"))
        loop.change(up, down, None if order["rules"] is None else [Rule.parse(text) for text in order["rules"]])
    elif order["do"] == "stop":
        loop.stop()
    with contextlib.suppress(OSError):
        control.send(loop.report().to_json().encode())


def _close_all_but(keep: set[int]) -> None:
    for descriptor in map(int, os.listdir("/proc/self/fd")):
        if descriptor not in keep:
            with contextlib.suppress(OSError):
                os.close(descriptor)


def _raise_file_limit(wanted: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        highest = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (highest, hard))
