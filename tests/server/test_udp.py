from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from blockstep_server.admission import Admission, Policy, Verdict
from blockstep_server.children import Task
from blockstep_server.listen import Arrival, open_udp
from blockstep_server.loops import OwnPorts
from blockstep_server.reply import ReplySockets
from blockstep_server.report import TransferRecord
from blockstep_server.suspicion import Bounds, Suspicion
from blockstep_server.udp import UdpListener
from blockstep_server.values import Bind, parse_network

REQUEST = b"\0\1file\0octet\0"


class FakeSupervisor:
    """Takes tasks without forking."""

    def __init__(self, policy: Policy) -> None:
        self.admission = Admission(policy)
        self.tasks: list[Task] = []
        self.refusals: list[tuple[str, str]] = []
        self.fails: OSError | None = None

    def spawn(self, task: Task) -> None:
        if self.fails is not None:
            raise self.fails
        self.admission.occupy(task.claim)
        self.tasks.append(task)

    def refuse(self, reason: str, source: str) -> None:
        self.refusals.append((reason, source))


class Scene:
    def __init__(
        self,
        *,
        single_port: bool = False,
        suspicion: Suspicion | None = None,
        own_port: bool = False,
        **policy: Any,
    ) -> None:
        (self.sock,) = open_udp(Bind("127.0.0.1", 0), 0)
        self.supervisor = FakeSupervisor(Policy(**{"max_sessions": 1000, **policy}))
        self.sockets: list[ReplySockets | None] = []
        self.client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.client.bind(("127.0.0.1", 0))
        self.listener = UdpListener(
            self.sock,
            self.supervisor,  # type: ignore[arg-type]
            self._make_body,
            single_port=single_port,
            keep_fds=(99,),
            suspicion=suspicion,
            own_ports=OwnPorts([self.client.getsockname()]) if own_port else None,
            chance=lambda: 0.0,
        )

    def _make_body(self, arrival: Arrival, sockets: ReplySockets | None) -> Any:
        self.sockets.append(sockets)
        return lambda: TransferRecord(peer=str(arrival.peer))

    def send(self, *datagrams: bytes) -> None:
        for datagram in datagrams:
            self.client.sendto(datagram, self.sock.getsockname())

    def close(self) -> None:
        self.listener.close()
        self.client.close()


@pytest.fixture
def scene(request: pytest.FixtureRequest) -> Iterator[Scene]:
    scene = Scene(**getattr(request, "param", {}))
    yield scene
    scene.close()


def numbered(count: int) -> list[bytes]:
    return [b"\0\1%d\0octet\0" % number for number in range(count)]


def test_a_request_becomes_a_task(scene: Scene) -> None:
    scene.send(REQUEST)
    scene.listener.handle_readable()
    (task,) = scene.supervisor.tasks
    port = scene.client.getsockname()[1]
    assert task.blank.peer == f"127.0.0.1:{port}"
    assert task.blank.local == f"127.0.0.1:{scene.sock.getsockname()[1]}"
    assert task.keep_fds == (99,)
    assert scene.sockets == [None]


@pytest.mark.parametrize("scene", [{"single_port": True}], indirect=True)
def test_on_a_single_port_the_child_keeps_the_socket_and_the_parent_does_not(scene: Scene) -> None:
    scene.send(REQUEST)
    scene.listener.handle_readable()
    (task,), (sockets,) = scene.supervisor.tasks, scene.sockets
    assert len(task.keep_fds) == 2
    assert sockets is not None
    assert sockets.hot.fileno() == -1


def test_one_wake_up_does_a_bounded_amount_of_work(scene: Scene) -> None:
    scene.send(*numbered(100))
    scene.listener.handle_readable()
    done = len(scene.supervisor.tasks)
    assert 0 < done < 100
    while len(scene.supervisor.tasks) < 100:
        scene.listener.handle_readable()


def test_late_acknowledgements_do_not_stand_in_the_log(scene: Scene) -> None:
    scene.send(b"\0\4\0\1", REQUEST, REQUEST)
    scene.listener.handle_readable()
    assert len(scene.supervisor.tasks) == 1
    assert scene.supervisor.refusals == []


@pytest.mark.parametrize("scene", [{"deny": (parse_network("127.0.0.0/8"),)}], indirect=True)
def test_who_is_turned_away_is_counted(scene: Scene) -> None:
    scene.send(REQUEST)
    scene.listener.handle_readable()
    assert scene.supervisor.tasks == []
    assert scene.supervisor.refusals == [
        (Verdict.DENIED.value, f"127.0.0.1:{scene.client.getsockname()[1]}"),
    ]


@pytest.mark.parametrize("scene", [{}, {"single_port": True}], indirect=True)
def test_a_lack_of_resources_costs_one_request(scene: Scene) -> None:
    scene.supervisor.fails = OSError(errno.EAGAIN, "no more processes")
    scene.send(REQUEST)
    scene.listener.handle_readable()
    assert scene.supervisor.refusals[0][0] == "for want of resources (no more processes)"
    assert all(sockets is None or sockets.hot.fileno() == -1 for sockets in scene.sockets)
    scene.supervisor.fails = None
    scene.send(REQUEST)
    scene.listener.handle_readable()
    assert len(scene.supervisor.tasks) == 1


@pytest.mark.parametrize("scene", [{"single_port": True}], indirect=True)
def test_what_was_handed_back_is_served_at_once(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    connect = socket.socket.connect
    late = [b"\0\1late\0octet\0"]

    def slow_connect(sock: socket.socket, peer: tuple[str, int]) -> None:
        while late:
            scene.send(late.pop())
        connect(sock, peer)

    scene.send(REQUEST)
    with monkeypatch.context() as patch:
        patch.setattr("socket.socket.connect", slow_connect)
        scene.listener.handle_readable()
    assert len(scene.supervisor.tasks) == 2


@pytest.mark.parametrize("scene", [{"own_port": True}], indirect=True)
def test_a_request_from_a_port_of_our_own_is_not_answered(scene: Scene) -> None:
    scene.send(REQUEST)
    scene.listener.handle_readable()
    assert scene.supervisor.tasks == []
    assert scene.supervisor.refusals[0][0] == Verdict.BAD_SOURCE.value


BOUNDS = Bounds(half_open=100, half_open_per_client=2)


@pytest.mark.parametrize("scene", [{"suspicion": Suspicion(BOUNDS, lambda: 0.0)}], indirect=True)
def test_each_task_is_watched_until_its_peer_has_answered(scene: Scene) -> None:
    for number in range(4):
        scene.send(REQUEST.replace(b"file", b"fil%d" % number))
        scene.listener.handle_readable()
        for task in scene.supervisor.tasks[number:]:
            assert task.watcher is not None
            task.watcher.started(lambda number=number: number == 0)  # type: ignore[misc]
    assert len(scene.supervisor.tasks) == 3, "the first has answered, so two more are half-open"
    assert scene.supervisor.refusals == [(Verdict.HALF_OPEN.value, "{}:{}".format(*scene.client.getsockname()))]
