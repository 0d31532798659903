"""`get` that is stopped or killed at every step of writing its file, in a folder that lets each step wait.

Whatever the signal, the name holds the old content or the new. After one that asks (SIGTERM, Ctrl-C) nothing else is
left; kill -9 between the two system calls of a replacement leaves a hidden link, which is all that it can leave, and
the next `get` into that folder removes it.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from blockstep.transport.atomic import HIDDEN_PREFIX
from blockstep_client.command import get
from support.aftermath import NEW, OLD
from support.client_process import ClientProcess
from support.fault_fs import FaultFs, Gate, Op, fault_fs
from support.fuse import enter_mount, mounting_obstacle
from support.transports import TransportServer, transport_server

STEPS = (Op.TMPFILE, Op.WRITE, Op.FSYNC, Op.LINK, Op.RENAME, Op.FSYNCDIR)
EACH_KIND = pytest.mark.parametrize("kind", ["udp", "tcp"])
EACH_STEP = pytest.mark.parametrize("step", STEPS, ids=[step.name.lower() for step in STEPS])


@dataclass(frozen=True)
class Scene:
    server: TransportServer
    fs: FaultFs
    local: Path

    def gate_at(self, step: Op) -> Gate:
        """A folder with nothing but the old file, in which that step waits."""
        for name in self.fs.files():
            (self.local / name).unlink()
        self.fs.heal()
        self.fs.write("file", OLD)
        return self.fs.hold(step)

    def get(self, kind: str) -> ClientProcess:
        """A client that replaces `file` there."""
        scheme = "tftp" if kind == "udp" else "tftp+tcp"
        words = ("-b", 8192, f"{scheme}://{self.server.door(kind)}/file")
        return ClientProcess(get, *words, enter=partial(enter_mount, self.local))

    def hidden(self) -> list[bytes]:
        """What is in the files that no user has named."""
        return [content for name, content in self.fs.files().items() if name.startswith(HIDDEN_PREFIX)]


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    if obstacle := mounting_obstacle("fuse"):
        pytest.skip(obstacle)
    folder = tmp_path_factory.mktemp("root")
    (folder / "file").write_bytes(NEW)
    with fault_fs(tmp_path_factory.mktemp("local")) as (fs, local), transport_server("tcp", folder) as server:
        yield Scene(server, fs, local)


@EACH_KIND
@EACH_STEP
def test_stopped_at_any_step_it_leaves_one_version_and_nothing_else(scene: Scene, kind: str, step: Op) -> None:
    gate = scene.gate_at(step)
    with scene.get(kind) as client:
        gate.await_reached()
        client.signal(signal.SIGTERM)
        gate.open()
        assert client.wait() == 128 + signal.SIGTERM, client.said()
    assert scene.fs.files() == {"file": NEW if step in (Op.RENAME, Op.FSYNCDIR) else OLD}


@EACH_KIND
@EACH_STEP
def test_killed_at_any_step_it_leaves_one_version(scene: Scene, kind: str, step: Op) -> None:
    gate = scene.gate_at(step)
    with scene.get(kind) as client:
        gate.await_reached()
        client.signal(signal.SIGKILL)
        gate.open()
        assert client.wait() == -signal.SIGKILL
    assert scene.fs.files()["file"] == (NEW if step in (Op.RENAME, Op.FSYNCDIR) else OLD)
    assert scene.hidden() == ([NEW] if step is Op.LINK else [])
    with scene.get(kind) as client:
        assert client.wait() == 0, client.said()
    assert scene.fs.files() == {"file": NEW}
