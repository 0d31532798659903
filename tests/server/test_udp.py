from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from blockstep.transport.udp import NEVER_NS, nanoseconds
from blockstep_server.admission import Admission, Claim, Outlook, Place, Policy, Verdict
from blockstep_server.children import Legacy, Task
from blockstep_server.listen import Arrival, open_udp
from blockstep_server.loops import OwnPorts
from blockstep_server.reply import ReplySockets
from blockstep_server.report import TransferRecord
from blockstep_server.suspicion import Bounds, Suspicion
from blockstep_server.udp import UdpListener
from blockstep_server.values import Bind, parse_network

REQUEST, OTHER = b"\0\1file\0octet\0", b"\0\1other\0octet\0"
SO_TIMESTAMPNS = 35  # asm-generic/socket.h


class FakeSupervisor:
    """Takes tasks without forking."""

    def __init__(self, policy: Policy) -> None:
        self.admission = Admission(policy)
        self.tasks: list[Task] = []
        self.refusals: list[tuple[str, str]] = []
        self.fails: OSError | None = None
        self.places: dict[Claim, Place] = {}

    def spawn(self, task: Task) -> None:
        if self.fails is not None:
            raise self.fails
        self.places[task.claim] = self.admission.occupy(task.claim)
        self.tasks.append(task)

    def end(self, task: Task, legacy: Legacy | None = None) -> None:
        self.admission.release(self.places[task.claim])
        task.afterwards(legacy or Legacy())

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
        self.arrivals: list[Arrival] = []
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
        self.arrivals.append(arrival)
        return lambda: TransferRecord(peer=str(arrival.peer))

    def send(self, *datagrams: bytes) -> None:
        for datagram in datagrams:
            self.client.sendto(datagram, self.sock.getsockname())

    def close(self) -> None:
        self.listener.close()
        self.client.close()
        for sockets in self.sockets:
            if sockets is not None:
                sockets.close()


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
def test_on_a_single_port_what_the_child_has_not_read_is_served_afterwards(scene: Scene) -> None:
    scene.send(REQUEST)
    scene.listener.handle_readable()
    (task,), (sockets,) = scene.supervisor.tasks, scene.sockets
    assert sockets is not None
    assert sockets.hot.fileno() in task.keep_fds
    scene.send(*numbered(40), OTHER, b"\0\4\0\1")
    scene.listener.handle_readable()
    assert len(scene.supervisor.tasks) == 1, "all of them are in the child's socket"
    scene.supervisor.end(task)
    assert [task.claim.words for task in scene.supervisor.tasks] == [REQUEST, OTHER]
    assert sockets.hot.fileno() == -1


@pytest.mark.parametrize("scene", [{"single_port": True}], indirect=True)
def test_a_socket_of_a_task_that_nobody_takes_is_closed(scene: Scene) -> None:
    scene.supervisor.fails = OSError(errno.EAGAIN, "no room")
    scene.send(REQUEST)
    scene.listener.handle_readable()
    (sockets,) = scene.sockets
    assert sockets is not None
    assert sockets.hot.fileno() == -1


@pytest.mark.parametrize("scene", [{"single_port": True}], indirect=True)
def test_what_a_child_has_read_and_could_not_serve_is_served_afterwards(scene: Scene) -> None:
    scene.send(REQUEST)
    scene.listener.handle_readable()
    scene.supervisor.end(scene.supervisor.tasks[0], Legacy(OTHER))
    assert [task.claim.words for task in scene.supervisor.tasks] == [REQUEST, OTHER]
    assert [arrival.noted for arrival in scene.arrivals] == [False, True]


@pytest.mark.parametrize(("heard_in_ns", "served"), [(-1, 2), (1, 1), (None, 1)], ids=["before", "after", "unsettled"])
def test_a_request_again_is_served_at_the_end_if_it_came_after_it(
    scene: Scene, heard_in_ns: int | None, served: int
) -> None:
    scene.send(REQUEST)
    scene.listener.handle_readable()
    scene.send(REQUEST)
    came_ns = receive_ns(scene)
    scene.listener.handle_readable()
    assert len(scene.supervisor.tasks) == 1
    outlook = Outlook() if heard_in_ns is None else Outlook(settled=True, heard_ns=came_ns + heard_in_ns)
    scene.supervisor.end(scene.supervisor.tasks[0], Legacy(outlook=outlook))
    assert len(scene.supervisor.tasks) == served
    assert scene.supervisor.refusals == []


def receive_ns(scene: Scene) -> int:
    """When the datagram that waits at the listener came."""
    _, ancillary, _, _ = scene.sock.recvmsg(2048, 256, socket.MSG_PEEK)
    (stamp,) = (payload for level, kind, payload in ancillary if (level, kind) == (socket.SOL_SOCKET, SO_TIMESTAMPNS))
    return nanoseconds(stamp)


def test_a_child_with_a_port_of_its_own_has_nothing_to_leave(scene: Scene) -> None:
    scene.send(REQUEST)
    scene.listener.handle_readable()
    scene.supervisor.end(scene.supervisor.tasks[0], Legacy(OTHER))
    assert len(scene.supervisor.tasks) == 1


@pytest.mark.parametrize("scene", [{"max_per_client": 1}, {"max_sessions": 1}], indirect=True)
def test_who_has_all_that_it_may_have_is_served_when_it_has_ended(scene: Scene) -> None:
    scene.send(REQUEST)
    scene.listener.handle_readable()
    scene.send(OTHER)
    came_ns = receive_ns(scene)
    scene.listener.handle_readable()
    assert (len(scene.supervisor.tasks), scene.supervisor.refusals) == (1, [])
    scene.supervisor.end(scene.supervisor.tasks[0], Legacy(outlook=Outlook(settled=True, heard_ns=came_ns - 1)))
    assert [task.claim.words for task in scene.supervisor.tasks] == [REQUEST, OTHER]


@pytest.mark.parametrize("scene", [{"max_per_client": 1}], indirect=True)
def test_who_has_had_too_much_and_goes_on_is_refused_in_the_log(scene: Scene) -> None:
    """Kept for the end, replaced by another: it does not vanish without a word, and the newest is served."""
    third = b"\0\1third\0octet\0"
    scene.send(REQUEST)
    scene.listener.handle_readable()
    scene.send(OTHER, third)
    scene.listener.handle_readable()
    assert [reason for reason, _ in scene.supervisor.refusals] == [Verdict.CLIENT_FULL.value]
    scene.supervisor.end(scene.supervisor.tasks[0])
    assert [task.claim.words for task in scene.supervisor.tasks] == [REQUEST, third]
    assert [reason for reason, _ in scene.supervisor.refusals] == [Verdict.CLIENT_FULL.value]


@pytest.mark.parametrize("scene", [{"max_sessions": 1}], indirect=True)
def test_who_finds_no_place_again_is_refused_in_the_log(scene: Scene) -> None:
    scene.send(REQUEST)
    scene.listener.handle_readable()
    scene.send(OTHER)
    scene.listener.handle_readable()
    (task,) = scene.supervisor.tasks
    scene.supervisor.admission.release(scene.supervisor.places[task.claim])
    scene.supervisor.admission.occupy(Claim("somebody else", "somebody else"))
    task.afterwards(Legacy(outlook=Outlook(settled=True)))
    assert [reason for reason, _ in scene.supervisor.refusals] == [Verdict.FULL.value]
    assert len(scene.supervisor.tasks) == 1


@pytest.mark.parametrize("scene", [{"max_sessions": 1}], indirect=True)
def test_after_a_refusal_another_request_that_found_no_place_is_served(scene: Scene) -> None:
    scene.send(REQUEST)
    scene.listener.handle_readable()
    scene.send(OTHER)
    scene.listener.handle_readable()
    scene.supervisor.end(scene.supervisor.tasks[0], Legacy(outlook=Outlook(settled=True)))
    assert [task.claim.words for task in scene.supervisor.tasks] == [REQUEST, OTHER]


@pytest.mark.parametrize("others_end", ["before", "after"])
def test_what_may_be_a_repetition_is_judged_by_who_was_asked_in_the_same_words(scene: Scene, others_end: str) -> None:
    """Another child of the same asker, which stayed after an upload, does not know what this one has heard."""
    scene.send(REQUEST, OTHER)
    scene.listener.handle_readable()
    scene.send(OTHER)
    came_ns = receive_ns(scene)
    scene.listener.handle_readable()
    stayed, served = scene.supervisor.tasks
    before, after = (Legacy(outlook=Outlook(settled=True, heard_ns=came_ns + later_ns)) for later_ns in (-1, 1))
    ends = [(stayed, before), (served, after)]
    for task, legacy in ends if others_end == "before" else reversed(ends):
        scene.supervisor.end(task, legacy)
    assert [task.claim.words for task in scene.supervisor.tasks] == [REQUEST, OTHER]


def test_a_child_that_gave_up_does_not_take_away_what_was_asked_of_another(scene: Scene) -> None:
    scene.send(REQUEST, OTHER)
    scene.listener.handle_readable()
    scene.send(OTHER)
    came_ns = receive_ns(scene)
    scene.listener.handle_readable()
    abandoned, served = scene.supervisor.tasks
    scene.supervisor.end(abandoned, Legacy(outlook=Outlook(settled=True, heard_ns=NEVER_NS)))
    scene.supervisor.end(served, Legacy(outlook=Outlook(settled=True, heard_ns=came_ns - 1)))
    assert [task.claim.words for task in scene.supervisor.tasks] == [REQUEST, OTHER, OTHER]


def test_who_asks_again_before_it_is_refused_is_refused_once(scene: Scene) -> None:
    scene.send(REQUEST, REQUEST)
    scene.listener.handle_readable()
    scene.supervisor.end(scene.supervisor.tasks[0], Legacy(outlook=Outlook(settled=True)))
    assert len(scene.supervisor.tasks) == 1


@pytest.mark.parametrize("scene", [{"single_port": True}, {"single_port": False}], indirect=True)
def test_after_a_stop_nothing_is_served_that_was_left(scene: Scene) -> None:
    scene.send(REQUEST)
    scene.listener.handle_readable()
    scene.listener.close()
    scene.supervisor.end(scene.supervisor.tasks[0], Legacy(OTHER))
    assert len(scene.supervisor.tasks) == 1
    assert all(sockets is None or sockets.hot.fileno() == -1 for sockets in scene.sockets)


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
