"""From a configuration to a running server: the order in which it comes up, and what can change while it runs.

Sockets are bound, keys and certificates are read, the root is opened and swept, the process id is written, privileges
are dropped, and only then the ready line is printed: who reads it can use the server, and whatever could fail at start
has not failed.
"""

from __future__ import annotations

import contextlib
import os
import resource
import ssl
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from blockstep.protocol.errors import LocalError
from blockstep.transport.files import sweep_leftovers
from blockstep.transport.recording import Recorder
from blockstep.transport.tls import server_context
from blockstep_server import privileges, systemd
from blockstep_server.admission import Admission, Policy
from blockstep_server.bodies import Bodies
from blockstep_server.clerk import Service
from blockstep_server.config import ServerConfig
from blockstep_server.control import Control
from blockstep_server.doors import Door, open_doors, try_url
from blockstep_server.loops import OwnPorts
from blockstep_server.paths import Root
from blockstep_server.rehearsal import rehearse
from blockstep_server.reload import merge
from blockstep_server.report import Reporter
from blockstep_server.sandbox import Plan, Sandbox, prepare, without
from blockstep_server.status_report import describe
from blockstep_server.stream_listener import StreamListener
from blockstep_server.supervisor import Host, Listener, Phase, Supervisor
from blockstep_server.suspicion import Bounds, Suspicion
from blockstep_server.udp import UdpListener
from blockstep_server.unforked import Unforked
from blockstep_server.unix_socket import bound_unix
from blockstep_server.upload_policy import UploadPolicy

__all__ = ["describe_sandbox", "start"]

_LOWEST_FREE_PORT = 1024
_OTHER_DESCRIPTORS = 64
_CONTROL_MODE = 0o600
_CONTROL_BACKLOG = 16
_BOARD_AT_LEAST = 8192  # a reload may raise --max-sessions, and memory is used only where a slot has been


def start(config: ServerConfig, reporter: Reporter, *, reread: Callable[[], ServerConfig] | None = None) -> int:
    """Serve until stopped; the exit status. LocalError (CannotBind for an address) if it cannot begin.

    `reread` gives the configuration as it would be now, or LocalError; None where it comes from nothing that changes.
    """
    with contextlib.ExitStack() as cleanup:
        identity = privileges.wanted(config.user)
        if config.single_port:
            _make_room_for_descriptors(config.max_sessions)
        doors = open_doors(config, _tls_context(config), cleanup)
        control = None
        if config.control is not None:
            made = bound_unix(config.control, mode=_CONTROL_MODE, backlog=_CONTROL_BACKLOG)
            control = cleanup.enter_context(made)
        recorder = _recorder(config.pcap, cleanup) if config.pcap is not None else None
        root = cleanup.enter_context(Root(config.root))
        if config.writable:
            _sweep(root, reporter)
        if config.pidfile is not None:
            cleanup.enter_context(_pidfile(config.pidfile))
        low_port = any(door.transport == "udp" and door.port < _LOWEST_FREE_PORT for door in doors)
        privileges.become(identity, keep_low_ports=config.single_port and low_port)
        sandbox = cleanup.enter_context(contextlib.closing(_sandbox(config, root)))
        _say_what_is_missing(sandbox, reporter)
        service = Service(config, root, sandbox, recorder)
        if config.debug_no_fork:
            return _serve_one_here(doors, service, reporter)
        server = _Server(doors, service, reporter, reread)
        if control is not None:
            cleanup.enter_context(contextlib.closing(Control(control, server.supervisor, server.commands)))
        return server.run()


def _make_room_for_descriptors(sessions: int) -> None:
    """On a shared port we keep a socket for each transfer, and the usual limit is 1024 descriptors."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = sessions + _OTHER_DESCRIPTORS
    if soft != resource.RLIM_INFINITY and soft < wanted:
        attainable = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        with contextlib.suppress(ValueError, OSError):  # a system may have a lower limit of its own
            resource.setrlimit(resource.RLIMIT_NOFILE, (attainable, hard))


def describe_sandbox(config: ServerConfig) -> list[str]:
    """What a server with this configuration gives up here, in lines for people. This process has given it up then.

    LocalError as for `start`, but nothing is bound.
    """
    low_port = config.single_port and config.udp and config.port < _LOWEST_FREE_PORT
    with Root(config.root) as root:
        held = privileges.become(privileges.wanted(config.user), keep_low_ports=low_port)
        with contextlib.closing(_sandbox(config, root)) as sandbox:
            return [held, *(measure.text() for measure in sandbox.measures)]


def _recorder(path: Path, cleanup: contextlib.ExitStack) -> Recorder:
    from blockstep.transport.pcapng_writer import PcapngWriter

    return Recorder(cleanup.enter_context(PcapngWriter(path)))


def _sandbox(config: ServerConfig, root: Root) -> Sandbox:
    plan = Plan(root_fd=root.fileno(), nice=config.nice)
    if config.debug_no_fork:
        return without("--debug-no-fork", plan)
    return prepare(plan) if config.sandbox else without("--no-sandbox", plan)


def _say_what_is_missing(sandbox: Sandbox, reporter: Reporter) -> None:
    by_reason: dict[str, list[str]] = {}
    for measure in sandbox.missing:
        by_reason.setdefault(measure.words, []).append(measure.name)
    for reason, names in by_reason.items():
        reporter.note(f"transfers are not confined by {', '.join(names)}: {reason}", -1)


def _tls_context(config: ServerConfig) -> ssl.SSLContext | None:
    if config.tls_cert is None:
        return None
    return server_context(config.tls_cert, config.tls_key, client_ca=config.tls_client_ca)


def _sweep(root: Root, reporter: Reporter) -> None:
    removed = sweep_leftovers(root.fileno())
    if removed:
        reporter.note(f"removed {removed} unfinished uploads of a server that was killed")


@contextlib.contextmanager
def _pidfile(path: Path) -> Iterator[None]:
    try:
        dir_fd = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        fd = os.open(path.name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644, dir_fd=dir_fd)
        os.write(fd, f"{os.getpid()}\n".encode())
    except OSError as error:
        raise LocalError(f"--pidfile {path}: {error.strerror}") from None
    try:
        yield
    finally:
        # As another user we may no longer be allowed to take the name away, nor to walk the path to it.
        os.ftruncate(fd, 0)
        os.close(fd)
        with contextlib.suppress(OSError):
            os.unlink(path.name, dir_fd=dir_fd)
        os.close(dir_fd)


# What is said


_POLICIES = {
    UploadPolicy.NONE: "read-only",
    UploadPolicy.CREATE: "uploads may create files",
    UploadPolicy.REPLACE: "uploads may create and replace files",
}


def _say_ready(config: ServerConfig, doors: Sequence[Door], reporter: Reporter) -> None:
    reporter.ready(
        serving=str(config.root.absolute()),
        addresses=[str(door) for door in doors],
        policy=_POLICIES[config.uploads],
        try_line=f"try: blockstep get {try_url(doors)}",
    )
    systemd.notify("READY=1", os.environ.get("NOTIFY_SOCKET"))


# What runs


def _policy(config: ServerConfig) -> Policy:
    return Policy(
        max_sessions=1 if config.one_off else config.max_sessions,
        max_per_client=config.max_per_client,
        allow=config.allow,
        deny=config.deny,
    )


def _bounds(config: ServerConfig) -> Bounds:
    """Of all places a quarter is left for those who are no strangers."""
    return Bounds(half_open=max(1, config.max_sessions * 3 // 4), half_open_per_client=config.max_half_open)


def _listeners(
    doors: Sequence[Door], host: Host, bodies: Bodies, suspicion: Suspicion | None = None
) -> Iterator[Listener]:
    own_ports = OwnPorts(door.sock.getsockname() for door in doors if door.transport == "udp")
    keep_fds = bodies.service.fds()
    single_port = bodies.service.config.single_port
    for door in doors:
        if door.transport == "udp":
            yield UdpListener(
                door.sock,
                host,
                bodies.for_datagram,
                single_port=single_port,
                keep_fds=keep_fds,
                suspicion=suspicion,
                own_ports=own_ports,
            )
        else:
            yield StreamListener(door.sock, host, bodies.for_connection, tls=door.tls, keep_fds=keep_fds)


def _serve_one_here(doors: Sequence[Door], service: Service, reporter: Reporter) -> int:
    """One request, or one connection, without a fork; its exit status."""
    _say_ready(service.config, doors, reporter)
    host = Unforked(Admission(_policy(service.config)), reporter)
    return host.run(list(_listeners(doors, host, Bodies(service))))


class _Server:
    """A server that runs, and what can be asked of it meanwhile."""

    def __init__(
        self,
        doors: Sequence[Door],
        service: Service,
        reporter: Reporter,
        reread: Callable[[], ServerConfig] | None,
    ) -> None:
        config = service.config
        self._doors = doors
        self._addresses = [str(door) for door in doors]
        self._reporter = reporter
        self._reread = reread
        self._bodies = Bodies(service)
        self._suspicion = Suspicion(_bounds(config))
        self.supervisor = Supervisor(
            Admission(_policy(config)),
            reporter,
            drain_timeout_s=config.drain_timeout_s,
            one_off=config.one_off,
            on_stop=partial(systemd.notify, "STOPPING=1", os.environ.get("NOTIFY_SOCKET")),
            on_reload=self._handle_hangup,
            board_slots=max(config.max_sessions, _BOARD_AT_LEAST),
        )
        self.commands: Mapping[str, Callable[[], Mapping[str, object]]] = {
            "status": lambda: describe(self.supervisor, self._bodies.service.config, self._addresses),
            "drain": self._drain,
            "reload": self._reload,
        }
        for listener in _listeners(doors, self.supervisor, self._bodies, self._suspicion):
            self.supervisor.add_listener(listener)

    def run(self) -> int:
        """Serve until stopped."""
        if any(door.transport == "udp" for door in self._doors):
            rehearse()
        return self.supervisor.run(lambda: _say_ready(self._bodies.service.config, self._doors, self._reporter))

    def _drain(self) -> Mapping[str, object]:
        """Begin a stop; of a stop that has begun, only say how far it is."""
        if self.supervisor.phase is Phase.SERVING:
            self.supervisor.stop()
        return {"phase": self.supervisor.phase.name.lower(), "places": len(self.supervisor.admission)}

    def _handle_hangup(self) -> None:
        try:
            self._reload()
        except LocalError as error:
            self._reporter.note(f"SIGHUP: {error}", -1)

    def _reload(self) -> Mapping[str, object]:
        """Let what the settings file says now hold for whoever asks next."""
        if self._reread is None:
            raise LocalError("there is nothing to reload: no settings file was given (blockstep --config FILE serve)")
        service = self._bodies.service
        reloaded = merge(service.config, self._reread())
        self._bodies.service = replace(service, config=reloaded.config)
        self.supervisor.admission.policy = _policy(reloaded.config)
        if reloaded.config.single_port:
            _make_room_for_descriptors(reloaded.config.max_sessions)
        self._suspicion.bounds = _bounds(reloaded.config)
        self.supervisor.drain_timeout_s = reloaded.config.drain_timeout_s
        self._reporter.note(str(reloaded))
        changed = {name: {"from": old, "to": new} for name, (old, new) in reloaded.changed.items()}
        return {"changed": changed, "needs_restart": list(reloaded.restart)}
