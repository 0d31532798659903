"""Our client and everybody's servers: what it fetches and what it sends arrives as it was, and every end has its code.

Each test runs against tftpd-hpa, atftpd and dnsmasq (which is read-only). The client runs in this process, through its
command line.
"""

from __future__ import annotations

import json
import os
import random
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from blockstep.exits import ExitCode
from blockstep_client.command import get, put
from make import make
from support.foreign_servers import ATFTPD, DNSMASQ, FOREIGN_SERVERS, TFTPD_HPA, ForeignServer
from support.processes import HAS_IPV6

SIZES = (0, 1, 511, 512, 513, 1428, 1428 * 16, 1428 * 16 + 1, 100_000)
WRAPS = "wrap-plus-1-block.bin"  # 65,537 blocks of 512 bytes, the last one empty
FLAGS = {
    "default": [],
    "lock-step": ["-b", "512", "-w", "1"],
    "wide": ["-b", "8192", "-w", "64"],
    "odd": ["-b", "1000", "-w", "3", "-t", "2"],
    "bare": ["--no-options"],
}
PATIENCE_S = 30.0
QUICK = ["-t", "0.05", "-r", "1"]


def each(*servers: ForeignServer) -> pytest.MarkDecorator:
    """A test for each server, which skips where the program is missing."""
    parameters = [pytest.param(server, id=server.name, marks=pytest.mark.peers(server.program)) for server in servers]
    return pytest.mark.parametrize("place", parameters, indirect=True)


EVERY_SERVER = each(*FOREIGN_SERVERS)
WRITABLE = each(*(server for server in FOREIGN_SERVERS if server.takes_files))
EVERY_FLAG = pytest.mark.parametrize("flags", FLAGS.values(), ids=FLAGS)


def content(size: int) -> bytes:
    return random.Random(size).randbytes(size)


def text(size: int) -> bytes:
    """Lines of all kinds but for a CR before a NUL: dnsmasq sends a CR of the file as it is, and that pair is a CR."""
    return bytes(random.Random(size).choices(b"ab\r\n", k=size))


@dataclass(frozen=True, slots=True)
class Place:
    """A running server and its directory."""

    server: ForeignServer
    root: Path
    address: tuple[str, int]

    def url(self, name: str) -> str:
        host, port = self.address
        return f"tftp://{f'[{host}]' if ':' in host else host}:{port}/{name}"

    def get(self, name: str, local: Path, *flags: str, exit_code: int = 0) -> dict[str, Any]:
        return _run(get, [*flags, self.url(name), "-o", str(local)], exit_code)

    def put(self, local: Path, name: str, *flags: str, exit_code: int = 0) -> dict[str, Any]:
        return _run(put, [*flags, str(local), self.url(name)], exit_code)

    def await_content(self, name: str, wanted: bytes) -> None:
        """Wait until a file holds this, and remove it: atftpd says that it has the last block before it writes it."""
        path = self.root / name
        until = time.monotonic() + PATIENCE_S
        while path.read_bytes() != wanted:
            assert time.monotonic() < until, f"{path} is not the {len(wanted)} bytes that were sent"
            time.sleep(0.001)
        path.unlink()


def _run(command: Any, words: list[str], exit_code: int) -> dict[str, Any]:
    """The record of one transfer, which must end with that code."""
    result = CliRunner().invoke(command, ["--json", *words])
    record: dict[str, Any] = json.loads(result.stdout)
    assert result.exit_code == exit_code, record
    return record


def _filled(root: Path) -> Path:
    root.chmod(0o777)
    for size in SIZES:
        (root / str(size)).write_bytes(content(size))
        (root / f"{size}.txt").write_bytes(text(size))
    (root / "private").write_bytes(b"secret")
    (root / "private").chmod(0)
    return root


@pytest.fixture(scope="module")
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """The server under test on 127.0.0.1."""
    server: ForeignServer = request.param
    root = _filled(tmp_path_factory.mktemp(server.name))
    with server.running(root, "127.0.0.1") as address:
        yield Place(server, root, address)


@EVERY_FLAG
@EVERY_SERVER
def test_get(place: Place, tmp_path: Path, flags: list[str]) -> None:
    for size in SIZES:
        record = place.get(str(size), tmp_path / "got", *flags)
        assert (tmp_path / "got").read_bytes() == content(size), f"{size} bytes"
        assert record["bytes"] == size


@EVERY_FLAG
@WRITABLE
def test_put(place: Place, tmp_path: Path, flags: list[str]) -> None:
    for size in SIZES:
        (tmp_path / "source").write_bytes(content(size))
        record = place.put(tmp_path / "source", "sent", *flags)
        assert record["bytes"] == size
        place.await_content("sent", content(size))


@EVERY_SERVER
def test_what_is_agreed(place: Place, tmp_path: Path) -> None:
    record = place.get("1428", tmp_path / "got")
    assert (record["blksize"], record["windowsize"], record["tsize"]) == (1428, place.server.window, 1428)
    record = place.get("1428", tmp_path / "got", "--no-options")
    assert (record["blksize"], record["windowsize"], record["tsize"]) == (512, 1, None)


@EVERY_SERVER
def test_netascii_get(place: Place, tmp_path: Path) -> None:
    for size in SIZES:
        place.get(f"{size}.txt", tmp_path / "got", "--mode", "netascii")
        assert (tmp_path / "got").read_bytes() == text(size), f"{size} bytes"


@WRITABLE
def test_netascii_put(place: Place, tmp_path: Path) -> None:
    for size in SIZES:
        (tmp_path / "source").write_bytes(text(size))
        place.put(tmp_path / "source", "sent.txt", "--mode", "netascii")
        place.await_content("sent.txt", text(size))


# dnsmasq has its own loopback addresses only, see its place
@pytest.mark.skipif(not HAS_IPV6, reason="no ::1 on this machine")
@pytest.mark.parametrize(
    "server", [pytest.param(each, id=each.name, marks=pytest.mark.peers(each.program)) for each in (TFTPD_HPA, ATFTPD)]
)
def test_ipv6(tmp_path: Path, server: ForeignServer) -> None:
    root = tmp_path / "root"
    root.mkdir()
    with server.running(_filled(root), "::1") as address:
        place = Place(server, root, address)
        place.get("100000", tmp_path / "got")
        place.put(tmp_path / "got", "sent")
        place.await_content("sent", content(100_000))


@pytest.mark.slow
@EVERY_SERVER
def test_past_block_65535(place: Place, tmp_path: Path) -> None:
    whole = make(place.root, WRAPS).read_bytes()
    record = place.get(WRAPS, tmp_path / "got", "-b", "512")
    assert (record["blocks"], record["blksize"]) == (65537, 512)
    assert (tmp_path / "got").read_bytes() == whole
    if place.server.takes_files:
        record = place.put(tmp_path / "got", "sent", "-b", "512")
        assert record["blocks"] == 65537
        place.await_content("sent", whole)


# What goes wrong, and the exit code that says it.


@EVERY_SERVER
def test_a_missing_file(place: Place, tmp_path: Path) -> None:
    record = place.get("missing", tmp_path / "got", exit_code=ExitCode.TFTP_ERROR + 1)
    assert record["error"]["code"] == 1
    assert not (tmp_path / "got").exists()


# atftpd opens whatever its user may read, and in these tests that is root; it says no to a path out of its directory
@pytest.mark.parametrize(
    ("place", "name"),
    [
        pytest.param(server, name, id=server.name, marks=pytest.mark.peers(server.program))
        for server, name in ((TFTPD_HPA, "private"), (DNSMASQ, "private"), (ATFTPD, "../private"))
    ],
    indirect=["place"],
)
def test_a_file_that_may_not_be_read(place: Place, tmp_path: Path, name: str) -> None:
    (tmp_path / "got").write_bytes(b"as it was")
    place.get(name, tmp_path / "got", exit_code=ExitCode.TFTP_ERROR + 2)
    assert (tmp_path / "got").read_bytes() == b"as it was"


@each(TFTPD_HPA)
def test_a_file_that_may_not_be_written(place: Place, tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(b"new")
    place.put(tmp_path / "source", "private", exit_code=ExitCode.TFTP_ERROR + 2)
    assert (place.root / "private").stat().st_size == len(b"secret")


@each(DNSMASQ)
def test_a_server_that_takes_no_files(place: Place, tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(b"new")
    place.put(tmp_path / "source", "sent", exit_code=ExitCode.TFTP_ERROR + 4)


def _silent() -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    return sock


@pytest.mark.parametrize(("listens", "code"), [(True, ExitCode.TIMED_OUT), (False, ExitCode.REFUSED)])
def test_nobody_answers(tmp_path: Path, listens: bool, code: ExitCode) -> None:
    with _silent() as sock:
        url = f"tftp://127.0.0.1:{sock.getsockname()[1]}/file"
        if not listens:
            sock.close()
        _run(get, [*QUICK, url, "-o", str(tmp_path / "got")], code)
    assert os.listdir(tmp_path) == []
