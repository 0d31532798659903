"""From a configuration to a running server: the order in which it comes up.

Sockets are bound, the root is opened and swept, the process id is written, privileges are dropped, and only then the
ready line is printed: who reads it can use the server, and whatever could fail at start has not failed.
"""

from __future__ import annotations

import contextlib
import os
import random
import selectors
import socket
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from blockstep.protocol.errors import LocalError
from blockstep.transport.files import sweep_leftovers
from blockstep_server import privileges, systemd
from blockstep_server.admission import Admission, Policy, Verdict
from blockstep_server.child import Body
from blockstep_server.config import ServerConfig
from blockstep_server.listen import Arrival, adopt_udp, host_port, open_udp, receive_request
from blockstep_server.paths import Root
from blockstep_server.reply import ReplySockets, open_fresh_port, open_single_port
from blockstep_server.report import Reporter, TransferRecord
from blockstep_server.session import Service, serve_request
from blockstep_server.supervisor import Supervisor
from blockstep_server.udp import UdpListener, blank_record
from blockstep_server.upload_policy import UploadPolicy

__all__ = ["start"]

_LOWEST_FREE_PORT = 1024


def start(config: ServerConfig, reporter: Reporter) -> int:
    """Serve until stopped; the exit status. LocalError (CannotBind for an address) if it cannot begin."""
    admission = Admission(
        Policy(
            max_sessions=1 if config.one_off else config.max_sessions,
            max_per_client=config.max_per_client,
            allow=config.allow,
            deny=config.deny,
        )
    )
    with contextlib.ExitStack() as cleanup:
        identity = privileges.find_user(config.user) if config.user else None
        sockets = [cleanup.enter_context(sock) for sock in _open_sockets(config)]
        service = Service(config, cleanup.enter_context(Root(config.root)))
        if config.writable:
            _sweep(service.root, reporter)
        if config.pidfile is not None:
            cleanup.enter_context(_pidfile(config.pidfile))
        if identity is not None:
            ports = [sock.getsockname()[1] for sock in sockets]
            privileges.become(identity, keep_low_ports=config.single_port and min(ports) < _LOWEST_FREE_PORT)
        if config.debug_no_fork:
            _say_ready(config, sockets, reporter)
            return _serve_one_here(sockets, admission, service, reporter)
        return _supervise(sockets, admission, service, reporter)


def _open_sockets(config: ServerConfig) -> list[socket.socket]:
    inherited = systemd.take_listen_fds(os.environ, os.getpid())
    if inherited:
        return [adopt_udp(fd) for fd in inherited]
    with contextlib.ExitStack() as on_failure:
        sockets = []
        for bind in config.binds:
            sockets += [on_failure.enter_context(sock) for sock in open_udp(bind, config.port)]
        on_failure.pop_all()
    return sockets


def _sweep(root: Root, reporter: Reporter) -> None:
    removed = sweep_leftovers(root.fileno())
    if removed:
        reporter.note(f"removed {removed} unfinished uploads of a server that was killed")


@contextlib.contextmanager
def _pidfile(path: Path) -> Iterator[None]:
    try:
        path.write_text(f"{os.getpid()}\n", encoding="ascii")
    except OSError as error:
        raise LocalError(f"--pidfile {path}: {error.strerror}") from None
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # after --user the directory may no longer be ours to change
            path.unlink()


# What is said


_POLICIES = {
    UploadPolicy.NONE: "read-only",
    UploadPolicy.CREATE: "uploads may create files",
    UploadPolicy.REPLACE: "uploads may create and replace files",
}


def _say_ready(config: ServerConfig, sockets: list[socket.socket], reporter: Reporter) -> None:
    names = [sock.getsockname() for sock in sockets]
    reporter.ready(
        serving=str(config.root.absolute()),
        addresses=[f"{host_port(name)} (udp)" for name in names],
        policy=_POLICIES[config.uploads],
        try_line=f"try: blockstep get tftp://{_for_a_client(*names[0][:2])}/NAME",
    )
    systemd.notify("READY=1", os.environ.get("NOTIFY_SOCKET"))


def _for_a_client(host: str, port: int) -> str:
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return host_port((host, port)).removesuffix(":69")


# What runs


def _supervise(sockets: list[socket.socket], admission: Admission, service: Service, reporter: Reporter) -> int:
    config = service.config
    supervisor = Supervisor(
        admission,
        reporter,
        drain_timeout_s=config.drain_timeout_s,
        one_off=config.one_off,
        on_stop=partial(systemd.notify, "STOPPING=1", os.environ.get("NOTIFY_SOCKET")),
    )
    for sock in sockets:
        listener = UdpListener(
            sock,
            supervisor,
            partial(_body_for, service),
            single_port=config.single_port,
            keep_fds=(service.root.fileno(),),
        )
        supervisor.add_listener(listener)
    return supervisor.run(lambda: _say_ready(config, sockets, reporter))


def _body_for(service: Service, arrival: Arrival, sockets: ReplySockets | None) -> Body:
    return lambda: _serve(service, arrival, sockets)


def _serve(service: Service, arrival: Arrival, sockets: ReplySockets | None) -> TransferRecord:
    if sockets is None:
        sockets = open_fresh_port(arrival, service.config.port_range, random.SystemRandom())
    return serve_request(arrival.data, sockets, service, blank_record(arrival))


def _serve_one_here(sockets: list[socket.socket], admission: Admission, service: Service, reporter: Reporter) -> int:
    """One transfer without a fork, for debuggers and coverage; its exit status."""
    sock, arrival = next(each for each in _arrivals(sockets) if admission.judge(each[1], 0.0) is Verdict.ACCEPTED)
    single = open_single_port(sock, arrival)[0] if service.config.single_port else None
    record = _serve(service, arrival, single)
    reporter.transfer(record)
    return record.status


def _arrivals(sockets: list[socket.socket]) -> Iterator[tuple[socket.socket, Arrival]]:
    """Whatever comes, for as long as it is asked for."""
    with selectors.DefaultSelector() as selector:
        for sock in sockets:
            selector.register(sock, selectors.EVENT_READ, sock)
        while True:
            for key, _ in selector.select():
                arrival = receive_request(key.data)
                if arrival is not None:
                    yield key.data, arrival
