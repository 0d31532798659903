"""Reads that stay true: what a client stores is one version of the file, whole, or it stores nothing.

The client's folder waits where a test says so (`support.fault_fs`), so it is known that the file is changed in the
middle: some of it has been written at the client, and the rest is more than can be on its way.
"""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from blockstep.protocol.wire import Opcode, Request
from blockstep_client.command import get
from support.aftermath import SAMPLE, assert_still_serves, the_only_record
from support.client_process import ClientProcess
from support.fault_fs import FaultFs, Op, fault_fs
from support.fuse import enter_mount, mounting_obstacle
from support.transports import TransportServer, transport_server

# More than a server's ring holds, and than the buffers of a TCP connection do.
SIZES = {"udp": 4 << 20, "tcp": 24 << 20}
WAYS = [("udp", ("-b", "8192", "-w", "1")), ("udp", ("-b", "8192", "-w", "32")), ("tcp", ())]
END = b"the end"
EACH_WAY = pytest.mark.parametrize(("kind", "words"), WAYS, ids=["lock-step", "windows", "tcp"])


@dataclass(frozen=True)
class Scene:
    """A server of an ordinary folder, and a client's folder that can wait."""

    server: TransportServer
    folder: Path
    fs: FaultFs
    local: Path

    def new_file(self, kind: str) -> Path:
        """A large one; all but its start and end is a hole, which reads as any other bytes do."""
        path = self.folder / f"file{len(os.listdir(self.folder))}"
        with path.open("wb") as file:
            file.write(b"the start")
            file.seek(SIZES[kind] - len(END))
            file.write(END)
        self.fs.heal()
        return path

    def get(self, kind: str, name: str, *words: str) -> ClientProcess:
        scheme = "tftp" if kind == "udp" else "tftp+tcp"
        url = f"{scheme}://{self.server.door(kind)}/{name}"
        return ClientProcess(get, *words, url, enter=partial(enter_mount, self.local))


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    if obstacle := mounting_obstacle("fuse"):
        pytest.skip(obstacle)
    folder = tmp_path_factory.mktemp("root")
    (folder / "sample").write_bytes(SAMPLE)
    with (
        fault_fs(tmp_path_factory.mktemp("local")) as (fs, local),
        transport_server("tcp", folder, "--timeout", "0.5", "--retries", "40") as server,
    ):
        yield Scene(server, folder, fs, local)


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size - len(END))


def grow(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b", and more")


def rewrite(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(path.stat().st_size - len(END))
        file.write(END.upper())


def replace(path: Path) -> None:
    other = path.with_name("other")
    other.write_bytes(b"another file")
    other.rename(path)


@EACH_WAY
@pytest.mark.parametrize("change", [truncate, grow, rewrite])
def test_a_file_changed_in_place_is_stored_by_nobody(
    scene: Scene, kind: str, words: tuple[str, ...], change: Callable[[Path], None]
) -> None:
    path = scene.new_file(kind)
    gate = scene.fs.hold(Op.WRITE, nth=2)
    with scene.get(kind, path.name, *words) as client:
        gate.await_reached()
        change(path)
        gate.open()
        status, said = client.wait(), client.said()
    record = the_only_record(scene.server, path.name, kind)
    assert status == 67, said
    assert "the file was changed while it was being sent" in said
    assert (record["result"], record["detail"]) == ("failed", "the file was changed while it was being sent")
    assert scene.fs.files() == {}


@EACH_WAY
def test_a_file_replaced_by_a_rename_is_sent_whole(scene: Scene, kind: str, words: tuple[str, ...]) -> None:
    path = scene.new_file(kind)
    content = path.read_bytes()
    gate = scene.fs.hold(Op.WRITE, nth=2)
    with scene.get(kind, path.name, *words) as client:
        gate.await_reached()
        replace(path)
        gate.open()
        assert client.wait() == 0, client.said()
    assert the_only_record(scene.server, path.name, kind)["result"] == "complete"
    assert scene.fs.files().pop(path.name) == content
    (scene.local / path.name).unlink()


# Who goes away while he is sent something.


def test_a_client_whose_port_is_closed_is_given_up_at_once(scene: Scene) -> None:
    """By the word of its system (ICMP), long before silence would tell. On a busy machine one of three is enough."""
    waits_s: list[float] = []
    while not waits_s or (min(waits_s) > 1 and len(waits_s) < 3):
        path = scene.new_file("udp")
        gate = scene.fs.hold(Op.WRITE, nth=2)
        with scene.get("udp", path.name, "-w", "8") as client:
            gate.await_reached()
            client.signal(signal.SIGKILL)
            gate.open()
            killed_at = time.monotonic()
            record = scene.server.await_record(path.name)
            waits_s.append(time.monotonic() - killed_at)
        assert (record["result"], record["detail"]) == ("failed", "the peer's port is closed")
        assert scene.server.children() == []
    assert min(waits_s) < 1, waits_s


def test_a_client_that_falls_silent_is_given_up_in_the_stated_time(tmp_path: Path) -> None:
    """--timeout, --retries times over. Its process, its descriptors and what it had sent are gone then."""
    (tmp_path / "file").write_bytes(bytes(SIZES["tcp"]))
    (tmp_path / "sample").write_bytes(SAMPLE)
    options = ("--upload", "create", "--timeout", "0.2", "--retries", "2")
    with transport_server("tcp", tmp_path, *options) as server, ExitStack() as clients:
        for kind in ("udp", "tcp"):
            for opcode, name in ((Opcode.RRQ, "file"), (Opcode.WRQ, f"new-{kind}")):
                client = clients.enter_context(server.raw(kind))
                client.say(Request(opcode, name, "octet").to_bytes())
                client.hear()
                if opcode is Opcode.WRQ:
                    client.say(b"\0\3\0\1" + bytes(512))
        records = server.await_transfers(4)
        assert {record["result"] for record in records} == {"failed"}
        said = {(record["transport"], record["op"]): record["detail"] for record in records}
        assert said.keys() == {(transport, op) for transport in ("udp", "tcp") for op in ("read", "write")}
        for (transport, _), detail in said.items():
            # Over UDP it is the time that has passed; a busy machine wakes a child later.
            wanted = r"no progress for 0\.[4-9] s" if transport == "udp" else r"nothing moved for 0\.4 s"
            assert re.fullmatch(wanted, detail)
        assert sorted(os.listdir(tmp_path)) == ["file", "sample"]
        clients.close()
        server.await_idle()
        assert_still_serves(server)
