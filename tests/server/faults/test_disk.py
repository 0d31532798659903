"""Disks that are full, broken, read-only or gone: the client hears ERROR with the right code, the old file stays.

The errors come from the kernel: from a file system that answers so (`support.fault_fs`), a tmpfs that is too small, a
mount that is read-only, a limit on the size of a file.
"""

from __future__ import annotations

import errno
import os
import resource
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from blockstep.protocol.wire import ErrorPacket, Opcode, Request
from blockstep_client.command import put
from support.aftermath import NEW, OLD, SAMPLE, hear_other_than, read_on, serving_faults, the_only_record
from support.client_process import ClientProcess
from support.fault_fs import Op, fault_fs
from support.faulty_place import KINDS, Place
from support.fuse import mounted, mounting_obstacle
from support.transports import Raw, TransportServer, transport_server

EACH_KIND = pytest.mark.parametrize("kind", KINDS)
UNDEFINED, ACCESS, FULL = 0, 2, 3
TFTP_ERROR = 67  # the exit code of a client that was sent ERROR 0
BLOCK = bytes(512)
ACK_0, ACK_1 = b"\0\4\0\0", b"\0\4\0\1"

# (the system call, its error, the code that the client is sent)
FAULTS = [
    (Op.TMPFILE, errno.ENOSPC, FULL),
    (Op.TMPFILE, errno.EDQUOT, FULL),
    (Op.TMPFILE, errno.EROFS, ACCESS),
    (Op.TMPFILE, errno.ENFILE, UNDEFINED),
    (Op.TMPFILE, errno.EIO, UNDEFINED),
    (Op.WRITE, errno.ENOSPC, FULL),
    (Op.WRITE, errno.EDQUOT, FULL),
    (Op.WRITE, errno.EFBIG, FULL),
    (Op.WRITE, errno.EIO, UNDEFINED),
    (Op.FSYNC, errno.ENOSPC, FULL),
    (Op.FSYNC, errno.EDQUOT, FULL),
    (Op.FSYNC, errno.EIO, UNDEFINED),
    (Op.LINK, errno.ENOSPC, FULL),
    (Op.LINK, errno.EIO, UNDEFINED),
    (Op.RENAME, errno.ENOSPC, FULL),
    (Op.RENAME, errno.EROFS, ACCESS),
    (Op.RENAME, errno.EIO, UNDEFINED),
    (Op.FSYNCDIR, errno.EIO, UNDEFINED),
]


@EACH_KIND
@pytest.mark.parametrize(
    ("op", "error", "code"), FAULTS, ids=[f"{op.name.lower()}-{errno.errorcode[error]}" for op, error, _ in FAULTS]
)
def test_an_error_of_the_disk_reaches_the_client(place: Place, kind: str, op: Op, error: int, code: int) -> None:
    server, name = place.server(), place.new_name()
    place.fs.fail(op, error, nth=2 if op is Op.WRITE else 1, for_ever=True)
    with place.put(kind, name) as client:
        status, said = client.wait(), client.said()
    record = the_only_record(server, name, kind)
    assert status == TFTP_ERROR + code, said
    assert f'error {code}: "the file cannot be written: ' in said
    assert record["result"] == ("refused" if op is Op.TMPFILE else "failed")
    assert (record["code"], record["detail"]) == (code, f"the file cannot be written: {os.strerror(error).lower()}")
    # Only the name itself may be new by then: that it would outlive a loss of power is what could not be had.
    place.assert_holds(name, NEW if op is Op.FSYNCDIR else OLD)
    assert not [each for each in place.fs.files() if each.startswith(".")]


@EACH_KIND
def test_the_last_answer_waits_for_the_disk(place: Place, kind: str) -> None:
    """While file, name or directory are not synced the client has not heard that its file is there."""
    server, name = place.server(), place.new_name()
    gates = [place.fs.hold(op) for op in (Op.FSYNC, Op.RENAME, Op.FSYNCDIR)]
    with place.put(kind, name) as client:
        for gate in gates:
            gate.await_reached()
            assert client.is_running()
            gate.open()
        assert client.wait() == 0
    assert the_only_record(server, name, kind)["result"] == "complete"
    assert all(files[name] == NEW for files in place.fs.after_power_loss())


def put_to(server: TransportServer, kind: str, name: str, source: Path | int) -> ClientProcess:
    """A real client; from standard input it cannot say before how much will come."""
    scheme = "tftp" if kind == "udp" else "tftp+tcp"
    stdin_fd = source if isinstance(source, int) else None
    words = ("-b", 8192, "-" if isinstance(source, int) else source, f"{scheme}://{server.door(kind)}/{name}")
    return ClientProcess(put, *words, stdin_fd=stdin_fd)


@pytest.fixture
def sent(tmp_path: Path) -> Path:
    path = tmp_path / "sent"
    path.write_bytes(NEW)
    return path


def fill(folder: Path) -> None:
    """What every server here has."""
    (folder / "sample").write_bytes(SAMPLE)
    (folder / "target").write_bytes(OLD)


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.skipif(bool(mounting_obstacle("tmpfs")), reason=mounting_obstacle("tmpfs"))
def test_a_small_disk(tmp_path: Path, sent: Path) -> None:
    """Announced (tsize) it is refused before a byte has come, not announced it ends where the disk is full."""
    (tmp_path / "mounted").mkdir()
    with mounted("tmpfs", tmp_path / "mounted", "size=256k") as (folder, _):
        fill(folder)
        with serving_faults(folder) as server:
            for kind in KINDS:
                with put_to(server, kind, "target", sent) as client:
                    assert client.wait() == TFTP_ERROR + FULL
                record = the_only_record(server, "target", kind)
                assert (record["result"], record["code"], record["payload_bytes"]) == ("refused", FULL, 0)
                with sent.open("rb") as source, put_to(server, kind, "target", source.fileno()) as client:
                    assert client.wait() == TFTP_ERROR + FULL
                record = the_only_record(server, "target", kind)
                assert (record["result"], record["code"]) == ("failed", FULL)
                assert files_of(folder) == {"sample": SAMPLE, "target": OLD}


def test_a_mount_that_is_read_only(tmp_path: Path, sent: Path) -> None:
    if obstacle := mounting_obstacle("fuse"):
        pytest.skip(obstacle)
    (tmp_path / "mounted").mkdir()
    with fault_fs(tmp_path / "mounted", read_only=True) as (fs, folder):
        fs.write("sample", SAMPLE)
        fs.write("target", OLD)
        with serving_faults(folder) as server:
            for kind in KINDS:
                with put_to(server, kind, "target", sent) as client:
                    assert client.wait() == TFTP_ERROR + ACCESS
                record = the_only_record(server, "target", kind)
                assert (record["result"], record["code"]) == ("refused", ACCESS)
                assert fs.files()["target"] == OLD


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An ordinary one."""
    folder = tmp_path / "root"
    folder.mkdir()
    fill(folder)
    return folder


@dataclass(frozen=True)
class Ordinary:
    """A server of an ordinary folder that many tests use; each has names of its own."""

    server: TransportServer
    folder: Path


@pytest.fixture(scope="module")
def ordinary(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ordinary]:
    folder = tmp_path_factory.mktemp("ordinary")
    fill(folder)
    with serving_faults(folder) as server:
        yield Ordinary(server, folder)


def test_a_limit_on_the_size_of_files(folder: Path, sent: Path) -> None:
    """RLIMIT_FSIZE of whoever started the server."""
    with serving_faults(folder) as server:
        resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (100_000, 100_000))
        for kind in KINDS:
            with put_to(server, kind, "target", sent) as client:
                assert client.wait() == TFTP_ERROR + FULL
            record = the_only_record(server, "target", kind)
            assert (record["result"], record["detail"]) == ("failed", "the file cannot be written: file too large")
            assert files_of(folder) == {"sample": SAMPLE, "target": OLD}


def begin_upload(client: Raw, name: str) -> None:
    client.say(Request(Opcode.WRQ, name, "octet").to_bytes())
    assert client.hear() == ACK_0


def leave(client: Raw) -> None:
    """With a word, so that the server need not stay for a client that missed its last one."""
    client.say(ErrorPacket(0, "thank you").to_bytes())
    client.sock.close()


@EACH_KIND
def test_the_directory_is_removed(ordinary: Ordinary, kind: str) -> None:
    below = ordinary.folder / f"below-{kind}"
    below.mkdir()
    with ordinary.server.raw(kind) as client:
        begin_upload(client, f"{below.name}/new")
        below.rmdir()
        client.say(b"\0\3\0\1" + b"the end")
        assert hear_other_than(client, ACK_0) == b"\0\5\0\0the file cannot be written: no such file or directory\0"
    assert the_only_record(ordinary.server, f"{below.name}/new", kind)["result"] == "failed"


def test_all_that_is_served_is_removed(folder: Path) -> None:
    """The server lives on, and says of each name that there is no such file."""
    with transport_server("tcp", folder, "--upload", "replace") as server, server.raw("udp") as client:
        begin_upload(client, "new")
        shutil.rmtree(folder)
        client.say(b"\0\3\0\1" + b"the end")
        assert hear_other_than(client, ACK_0)[:4] == b"\0\5\0\0"
        for kind in KINDS:
            with server.raw(kind) as other:
                other.say(Request(Opcode.RRQ, "sample", "octet").to_bytes())
                assert other.hear() == b"\0\5\0\1file not found\0"
        results = [record["result"] for record in server.await_transfers(3)]
        assert sorted(results) == ["failed", "refused", "refused"]


def race(server: TransportServer, kind: str, name: str) -> list[bytes]:
    """Two uploads that begin while the name is free: what each hears last, in the order in which they end."""
    with server.raw(kind) as first, server.raw(kind) as second:
        for racer in (first, second):
            begin_upload(racer, name)
            racer.say(b"\0\3\0\1" + BLOCK)
            if kind == "udp":
                assert hear_other_than(racer, ACK_0) == ACK_1
        heard = []
        for last, racer in ((b"first", first), (b"second", second)):
            racer.say(b"\0\3\0\2" + last)
            heard.append(hear_other_than(racer, ACK_1))
            leave(racer)
        return heard


@EACH_KIND
def test_two_uploads_race_for_one_name(ordinary: Ordinary, kind: str) -> None:
    name = f"raced-{kind}"
    assert race(ordinary.server, kind, name) == [b"\0\4\0\2", b"\0\4\0\2"]
    assert (ordinary.folder / name).read_bytes() == BLOCK + b"second"


def test_two_uploads_race_for_a_name_that_may_be_given_once(folder: Path) -> None:
    with serving_faults(folder, "--upload", "create") as server:
        for kind in KINDS:
            done, refused = race(server, kind, kind)
            assert (done, refused[:4]) == (b"\0\4\0\2", b"\0\5\0\6")
            assert (folder / kind).read_bytes() == BLOCK + b"first"


@EACH_KIND
def test_an_upload_over_a_file_that_is_being_read(ordinary: Ordinary, sent: Path, kind: str) -> None:
    """Who had begun to read gets all of the old file."""
    path = ordinary.folder / f"read-{kind}"
    path.write_bytes(OLD)
    with ordinary.server.raw("udp") as reader:
        reader.say(Request(Opcode.RRQ, path.name, "octet").to_bytes())
        first = reader.hear()
        with put_to(ordinary.server, kind, path.name, sent) as client:
            assert client.wait() == 0
        assert path.read_bytes() == NEW
        assert read_on(reader, first) == OLD
