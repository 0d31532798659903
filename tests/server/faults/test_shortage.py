"""No descriptors, no processes, no room for the log: who cannot be served is told where that can be; all else goes on.

Decided here: the limits are the kernel's, set from outside on the running server (prlimit), and taken back afterwards.
"""

from __future__ import annotations

import errno
import json
import os
import resource
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from blockstep.protocol.wire import Opcode, Request
from blockstep_lab.netns.forked import fork_child, reap
from blockstep_server.status_command import ask
from support.aftermath import SAMPLE, assert_still_serves, serving_faults
from support.fault_fs import Op
from support.faulty_place import KINDS, Place
from support.fuse import mounted, mounting_obstacle
from support.ownership import STAY, hand_over
from support.transports import Raw, TransportServer, transport_server

READ = Request(Opcode.RRQ, "sample", "octet").to_bytes()
WRITE = Request(Opcode.WRQ, "new", "octet").to_bytes()
PLENTY = 1024


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "root"
    folder.mkdir()
    (folder / "sample").write_bytes(SAMPLE)
    hand_over(folder)
    return folder


@contextmanager
def limited(server: TransportServer, kind: int, value: int) -> Iterator[None]:
    """For so long the server and those that it forks meanwhile have no more of it."""
    before = Path(f"/proc/{server.pid}/limits").read_text()
    soft = int(next(line for line in before.splitlines() if line.startswith(_NAMES[kind])).split()[-3])
    _set_soft_limit(server.pid, kind, value)
    try:
        yield
    finally:
        _set_soft_limit(server.pid, kind, soft)


_NAMES = {resource.RLIMIT_NOFILE: "Max open files", resource.RLIMIT_NPROC: "Max processes"}


def _set_soft_limit(pid: int, kind: int, value: int) -> None:
    """As the user that the server has become: root without all its capabilities may not."""
    ids = {
        line.split()[0]: line.split()[1]
        for line in Path(f"/proc/{pid}/status").read_text().splitlines()
        if "id:" in line
    }

    def set_it() -> None:
        uid, gid = int(ids["Uid:"]), int(ids["Gid:"])
        if (uid, gid) != (os.geteuid(), os.getegid()):
            os.setresgid(gid, gid, gid)
            os.setresuid(uid, uid, uid)
        resource.prlimit(pid, kind, (value, resource.prlimit(pid, kind)[1]))

    assert reap(fork_child(set_it), 30) == 0


def line_about(server: TransportServer) -> str:
    """The next line of the log about a request: of a transfer, or of some that were turned away."""
    for event in server.events():
        assert event["event"] != "traceback", event
        if event["event"] == "transfer":
            return f"{event['result']}: {event['detail']}"
        if "refused" in event:
            return str(event["message"])
    raise AssertionError("the log has ended")


def ask_with_descriptors(server: TransportServer, kind: str, request: bytes, count: int) -> str:
    """What the log says of a request while no descriptor may have a number from `count` on."""
    with server.raw(kind) as client, limited(server, resource.RLIMIT_NOFILE, count):
        client.say(request)
        return line_about(server)


@pytest.mark.parametrize(
    ("request_bytes", "refusals"),
    [
        (READ, {"refused: the server cannot open files now"}),
        (
            WRITE,
            {"refused: the server cannot open files now", "refused: the file cannot be written: too many open files"},
        ),
    ],
    ids=["read", "write"],
)
def test_any_number_of_descriptors(folder: Path, request_bytes: bytes, refusals: set[str]) -> None:
    """From none that are free to just enough: no socket to answer from, no file, no temporary, and then it goes."""
    # In the sandbox a child sets this limit itself, to what is enough.
    options = ("--no-sandbox", "--timeout", "0.2", "--retries", "1")
    said: list[str] = []
    with serving_faults(folder, *options) as server:
        while not said or "no progress" not in said[-1]:
            said.append(ask_with_descriptors(server, "udp", request_bytes, 3 + len(said)))
        assert_still_serves(server)
    assert said[0] == "failed: not served for want of resources: too many open files"
    assert set(said[1:-1]) == {said[0], *refusals}


@pytest.mark.parametrize(("kind", "options"), [("tcp", ()), ("udp", ("--single-port",))])
def test_no_descriptor_for_the_supervisor(folder: Path, kind: str, options: tuple[str, ...]) -> None:
    """Who has connected waits until there is one, who has sent a datagram asks again."""
    with serving_faults(folder, *options) as server, ExitStack() as stack:
        with limited(server, resource.RLIMIT_NOFILE, 3):
            client = stack.enter_context(server.raw(kind))
            client.say(READ)
            assert line_about(server).startswith("not served: 1 for want of resources (Too many open files)")
        if kind == "udp":
            client.say(READ)
        assert client.hear() == b"\0\3\0\1" + SAMPLE
        client.say(b"\0\4\0\1")
        assert server.await_record("sample")["result"] == "complete"
        assert_still_serves(server, kind)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("op", [Op.LOOKUP, Op.OPEN], ids=["look", "open"])
def test_no_file_to_be_had_in_the_whole_system(place: Place, kind: str, op: Op) -> None:
    server = place.server()
    place.fs.heal()
    place.fs.fail(op, errno.ENFILE, for_ever=True)
    with server.raw(kind) as client:
        client.say(READ)
        assert client.hear() == b"\0\5\0\0the server cannot open files now\0"
    assert server.await_record("sample")["result"] == "refused"
    place.fs.heal()
    assert_still_serves(server, kind)


@pytest.mark.parametrize("kind", KINDS)
def test_no_process_can_be_made(folder: Path, kind: str) -> None:
    """The kernel's limit does not bind root, which a server does not stay."""
    user = ("--user", "nobody") if os.geteuid() == 0 else ()
    with transport_server("tcp", folder, *user) as server:
        with limited(server, resource.RLIMIT_NPROC, 0), server.raw(kind) as client:
            client.say(READ)
            assert "1 for want of resources (Resource temporarily unavailable)" in line_about(server)
        assert_still_serves(server, kind)


# A log that takes nothing.


def dev_full(_tmp_path: Path, stack: ExitStack) -> int:
    if not os.path.exists("/dev/full"):
        pytest.skip("there is no /dev/full")
    return stack.enter_context(open("/dev/full", "w")).fileno()


def full_disk(tmp_path: Path, stack: ExitStack) -> int:
    if obstacle := mounting_obstacle("tmpfs"):
        pytest.skip(obstacle)
    (tmp_path / "disk").mkdir()
    disk, _ = stack.enter_context(mounted("tmpfs", tmp_path / "disk", "size=4k"))
    (disk / "log").write_bytes(bytes(4096))
    return stack.enter_context(open(disk / "log", "a")).fileno()


@pytest.mark.parametrize("make_log", [dev_full, full_disk])
def test_a_log_that_is_full(folder: Path, tmp_path: Path, make_log: Callable[[Path, ExitStack], int]) -> None:
    """Nothing can be told, all is served. Where the server is, its control socket says."""
    control = tmp_path / "control"
    with ExitStack() as stack:
        manager = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(30)
        serve = [sys.executable, "-W", "error", "-m", "blockstep", "serve", os.fspath(folder)]
        server = subprocess.Popen(
            [*serve, "-b", "127.0.0.1:0", "--tcp", "0", "--control", os.fspath(control), *STAY],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "NOTIFY_SOCKET": str(tmp_path / "notify")},
            stderr=make_log(tmp_path, stack),
        )
        stack.callback(server.wait)
        stack.callback(server.kill)
        assert manager.recv(100) == b"READY=1"
        doors = {kind: door for door, kind in map(str.split, json.loads(ask(control, "status"))["listening"])}
        for kind in KINDS:
            with Raw(kind, doors[f"({kind})"]) as client:
                client.say(READ)
                assert client.hear() == b"\0\3\0\1" + SAMPLE
                client.say(b"\0\4\0\1")
            with Raw(kind, doors[f"({kind})"]) as client:
                client.say(READ.replace(b"sample", b"none"))
                assert client.hear()[:4] == b"\0\5\0\1"
        server.terminate()
        assert server.wait(30) == 0
