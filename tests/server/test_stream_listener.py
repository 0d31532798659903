from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from blockstep.protocol.framing import frame
from blockstep.protocol.wire import ErrorPacket
from blockstep_server.admission import Admission, Policy, Verdict
from blockstep_server.children import Task
from blockstep_server.connection import Connection
from blockstep_server.stream_listener import StreamListener
from blockstep_server.supervisor import Listener
from blockstep_server.values import parse_network
from support.streams import short_wait


class FakeHost:
    """Takes tasks without forking. The sockets of the connections live on in it, as they do in children."""

    def __init__(self, policy: Policy) -> None:
        self.admission = Admission(policy)
        self.tasks: list[Task] = []
        self.refusals: list[tuple[str, str]] = []
        self.rests: list[float] = []
        self.fails: OSError | None = None

    def spawn(self, task: Task) -> None:
        if self.fails is not None:
            raise self.fails
        self.admission.occupy(task.claim)
        self.tasks.append(task)

    def refuse(self, reason: str, source: str) -> None:
        self.refusals.append((reason, source))

    def rest(self, listener: Listener, seconds: float) -> None:
        self.rests.append(seconds)


class Scene:
    def __init__(self, path: Path, *, kind: str = "tcp", **policy: Any) -> None:
        if kind == "unix":
            self.sock = socket.socket(socket.AF_UNIX)
            self.sock.bind(str(path))
            self.sock.listen()
        else:
            self.sock = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.sock.setblocking(False)
        self.host = FakeHost(Policy(**{"max_sessions": 1000, **policy}))
        self.connections: list[Connection] = []
        self.clients: list[socket.socket] = []
        self.listener = StreamListener(self.sock, self.host, self._make_body, keep_fds=(99,), chance=lambda: 0.0)

    def _make_body(self, connection: Connection) -> Any:
        self.connections.append(connection)
        return lambda _telling: None

    def connect(self, count: int = 1) -> socket.socket:
        """The last of `count` clients."""
        for _ in range(count):
            client = socket.socket(self.sock.family)
            self.clients.append(client)
            client.connect(self.sock.getsockname())
        return self.clients[-1]

    def close(self) -> None:
        self.listener.close()
        for client in self.clients:
            client.close()


@pytest.fixture
def scene(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Scene]:
    scene = Scene(tmp_path / "socket", **getattr(request, "param", {}))
    yield scene
    scene.close()


def test_a_connection_becomes_a_task(scene: Scene) -> None:
    client = scene.connect()
    scene.listener.handle_readable()
    (task,) = scene.host.tasks
    assert (task.blank.peer, task.blank.transport) == ("{}:{}".format(*client.getsockname()), "tcp")
    assert task.blank.local == "{}:{}".format(*scene.sock.getsockname())
    assert task.is_connection
    assert task.keep_fds[0] == 99
    assert len(task.keep_fds) == 2
    assert scene.connections[0].sock.fileno() == -1, "the parent keeps no copy"


@pytest.mark.parametrize("scene", [{"kind": "unix"}], indirect=True)
def test_who_comes_through_a_unix_socket_is_known_by_process_and_user(scene: Scene) -> None:
    scene.connect(2)
    for _ in range(2):
        scene.listener.handle_readable()
    assert {task.blank.peer for task in scene.host.tasks} == {f"unix:pid={os.getpid()},uid={os.getuid()}"}
    assert {task.blank.transport for task in scene.host.tasks} == {"unix"}
    assert {task.claim.source for task in scene.host.tasks} == {("uid", os.getuid())}


def test_one_wake_up_takes_one_connection(scene: Scene) -> None:
    scene.connect(3)
    for count in (1, 2, 3, 3):
        scene.listener.handle_readable()
        assert len(scene.host.tasks) == count, "a crowd must not keep a datagram waiting"


@pytest.mark.parametrize("scene", [{"max_per_client": 2}], indirect=True)
def test_over_the_limits_the_answer_is_busy(scene: Scene) -> None:
    last = scene.connect(3)
    for _ in range(3):
        scene.listener.handle_readable()
    assert len(scene.host.tasks) == 2
    assert scene.host.refusals == [(Verdict.CLIENT_FULL.value, "{}:{}".format(*last.getsockname()))]
    assert short_wait(last) == frame(ErrorPacket(0, "the server is busy").to_bytes())


@pytest.mark.parametrize("scene", [{"deny": (parse_network("127.0.0.0/8"),)}], indirect=True)
def test_networks_that_are_not_served_hear_nothing(scene: Scene) -> None:
    client = scene.connect()
    scene.listener.handle_readable()
    assert scene.host.tasks == []
    assert scene.host.refusals[0][0] == Verdict.DENIED.value
    assert short_wait(client) == b""


@pytest.mark.parametrize("scene", [{"kind": "unix", "deny": (parse_network("0.0.0.0/0"),)}], indirect=True)
def test_a_unix_socket_is_of_no_network(scene: Scene) -> None:
    scene.connect()
    scene.listener.handle_readable()
    assert len(scene.host.tasks) == 1


def test_a_lack_of_processes_costs_one_connection(scene: Scene) -> None:
    scene.host.fails = OSError(errno.EAGAIN, "no more processes")
    client = scene.connect()
    scene.listener.handle_readable()
    assert scene.host.refusals == [
        ("for want of resources (no more processes)", "{}:{}".format(*client.getsockname())),
    ]
    assert short_wait(client) == b""
    scene.host.fails = None
    scene.connect()
    scene.listener.handle_readable()
    assert len(scene.host.tasks) == 1


def test_a_lack_of_descriptors_lets_the_listener_rest(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    def accept(_sock: socket.socket) -> Any:
        raise OSError(errno.EMFILE, "Too many open files")

    scene.connect()
    with monkeypatch.context() as patch:
        patch.setattr(socket.socket, "accept", accept)
        scene.listener.handle_readable()
    assert "Too many open files" in scene.host.refusals[0][0]
    assert scene.host.rests == [0.1]
    scene.listener.handle_readable()
    assert len(scene.host.tasks) == 1


def test_a_connection_that_is_gone_already_is_passed_over(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    accept = socket.socket.accept
    failures = [OSError(errno.ECONNABORTED, "Software caused connection abort")]

    def aborted_once(sock: socket.socket) -> Any:
        if failures:
            raise failures.pop()
        return accept(sock)

    scene.connect()
    with monkeypatch.context() as patch:
        patch.setattr(socket.socket, "accept", aborted_once)
        scene.listener.handle_readable()
        scene.listener.handle_readable()
    assert len(scene.host.tasks) == 1
    assert scene.host.rests == []


def test_an_ipv4_client_on_a_socket_of_both_families_is_ipv4(tmp_path: Path) -> None:
    try:
        both = socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True)
    except (OSError, ValueError):
        pytest.skip("this machine has no IPv6")
    both.setblocking(False)
    host = FakeHost(Policy(max_sessions=1, allow=(parse_network("127.0.0.1"),)))
    listener = StreamListener(both, host, lambda _connection: lambda _telling: None)
    with socket.create_connection(("127.0.0.1", both.getsockname()[1])) as client:
        listener.handle_readable()
        assert [task.blank.peer for task in host.tasks] == ["{}:{}".format(*client.getsockname())]
        assert host.tasks[0].claim.source == "127.0.0.1"
    listener.close()
