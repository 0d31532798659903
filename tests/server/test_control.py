from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from blockstep.protocol.errors import LocalError
from blockstep_server.control import Control
from blockstep_server.timers import Timers
from blockstep_server.unix_socket import bound_unix


class FakeSupervisor:
    """Descriptors, timers and a clock, but no loop: `turn` does what one would do."""

    def __init__(self) -> None:
        self.timers = Timers()
        self.now = 0.0
        self.watched: dict[int, tuple[Callable[[], object], int]] = {}

    def clock(self) -> float:
        return self.now

    def watch(self, fd: int, callback: Callable[[], object], events: int = 1) -> None:
        self.watched[fd] = (callback, events)

    def unwatch(self, fd: int) -> None:
        self.watched.pop(fd, None)

    def turn(self) -> None:
        for fd, (callback, _) in list(self.watched.items()):
            if fd in self.watched:
                callback()
        self.timers.run_due(self.now)


class Scene:
    def __init__(self, sock: socket.socket, path: Path) -> None:
        self.supervisor = FakeSupervisor()
        self.path = path
        self.size = 10
        commands: Mapping[str, Callable[[], Mapping[str, object]]] = {"big": self._big, "fail": self._fail}
        self.control = Control(sock, self.supervisor, commands)  # type: ignore[arg-type]
        self.clients: list[socket.socket] = []

    def _big(self) -> Mapping[str, object]:
        return {"text": "x" * self.size}

    def _fail(self) -> Mapping[str, object]:
        raise LocalError("not now")

    def connect(self) -> socket.socket:
        client = socket.socket(socket.AF_UNIX)
        self.clients.append(client)
        client.settimeout(10)
        client.connect(str(self.path))
        self.supervisor.turn()
        return client

    def ask(self, said: bytes) -> list[dict[str, Any]]:
        client = self.connect()
        client.sendall(said)
        self.supervisor.turn()
        return [json.loads(line) for line in client.recv(100_000).splitlines()]


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    path = tmp_path / "control"
    with bound_unix(path, mode=0o600, backlog=32) as sock:
        scene = Scene(sock, path)
        yield scene
        scene.control.close()
    for client in scene.clients:
        client.close()


def is_dropped(client: socket.socket) -> bool:
    try:
        while client.recv(1 << 20):
            pass
    except ConnectionResetError:
        pass
    except TimeoutError:
        return False
    return True


def test_each_line_is_answered_with_a_line(scene: Scene) -> None:
    assert scene.ask(b"big\nfail\r\n nonsense \n") == [
        {"ok": True, "command": "big", "text": "x" * 10},
        {"ok": False, "command": "fail", "error": "not now"},
        {"ok": False, "error": "no command 'nonsense'; there is big, fail"},
    ]


def test_a_line_may_come_in_pieces_and_questions_may_follow(scene: Scene) -> None:
    client = scene.connect()
    for piece in (b"b", b"i", b"g\nbi", b"g\n"):
        client.sendall(piece)
        scene.supervisor.turn()
    assert client.recv(10_000).count(b"\n") == 2


@pytest.mark.parametrize("said", [b"x" * 300, b"\xff" * 300])
def test_a_line_without_end_is_not_waited_for(scene: Scene, said: bytes) -> None:
    client = scene.connect()
    client.sendall(said)
    scene.supervisor.turn()
    scene.supervisor.turn()
    assert is_dropped(client)


def test_who_has_asked_all_is_answered_and_then_left(scene: Scene) -> None:
    scene.size = 1_000_000
    client = scene.connect()
    client.sendall(b"big\n")
    client.shutdown(socket.SHUT_WR)
    got = b""
    client.setblocking(False)
    while len(scene.supervisor.watched) > 1 or not got.endswith(b"\n"):
        scene.supervisor.turn()
        try:
            got += client.recv(1 << 20)
        except BlockingIOError:
            continue
    assert len(json.loads(got)["text"]) == 1_000_000
    assert client.recv(1) == b""


def test_rubbish_is_an_error_in_json(scene: Scene) -> None:
    (answer,) = scene.ask(b"\xff\x00\x1b[2J\n")
    assert answer["ok"] is False
    assert "no command" in answer["error"]


def test_an_answer_is_sent_as_its_reader_takes_it(scene: Scene) -> None:
    scene.size = 3_000_000
    client = scene.connect()
    got: list[bytes] = []

    def read() -> None:
        while not got or not got[-1].endswith(b"\n"):
            got.append(client.recv(1 << 20))

    client.sendall(b"big\n")
    scene.supervisor.turn()
    reader = threading.Thread(target=read)
    reader.start()
    while reader.is_alive():
        scene.supervisor.turn()
        reader.join(0.001)
    assert len(json.loads(b"".join(got))["text"]) == 3_000_000


def test_who_lets_answers_pile_up_is_dropped(scene: Scene) -> None:
    scene.size = 3_000_000
    client = scene.connect()
    client.sendall(b"big\nbig\n")
    scene.supervisor.turn()
    assert len(scene.supervisor.watched) == 1, "only the listening socket"
    assert is_dropped(client)


def test_who_says_nothing_is_dropped_after_a_while(scene: Scene) -> None:
    client = scene.connect()
    scene.supervisor.now = 9.0
    scene.supervisor.turn()
    client.sendall(b"big\n")
    scene.supervisor.turn()
    scene.supervisor.now = 18.0
    scene.supervisor.turn()
    assert len(scene.supervisor.watched) == 2
    scene.supervisor.now = 19.1
    scene.supervisor.turn()
    assert is_dropped(client)


def test_only_so_many_at_a_time(scene: Scene) -> None:
    clients = [scene.connect() for _ in range(17)]
    assert is_dropped(clients[-1])
    clients[0].close()
    scene.supervisor.turn()
    assert scene.ask(b"big\n")[0]["ok"]
