"""Our server and everybody's clients: what they fetch and what they send arrives as it was.

One table: each client with its options, both ways of answering (fresh port, single port), both address families.
Left out: netascii with busybox, which knows octet only.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from blockstep.protocol.netascii import Encoder
from make import make
from support.foreign_clients import ATFTP, ATFTP_WINDOW, BUSYBOX, CLIENTS, CURL, HPA, ForeignClient, each_client
from support.processes import HAS_IPV6, RunningServer, running_server

SIZES = (0, 1, 511, 512, 513, 1428, 1428 * 16, 1428 * 16 + 1, 100_000)
WRAPS = "wrap-plus-1-block.bin"  # 65,537 blocks of 512 bytes, the last one empty
PORTS = {"fresh port": "--no-single-port", "single port": "--single-port"}


FAMILIES = pytest.mark.parametrize(
    "ipv6",
    [False, pytest.param(True, marks=pytest.mark.skipif(not HAS_IPV6, reason="no ::1 on this machine"))],
    ids=["IPv4", "IPv6"],
)


def content(size: int) -> bytes:
    return random.Random(size).randbytes(size)


def text(size: int) -> bytes:
    """Lines of all kinds, so that every pair of netascii meets a border of two blocks somewhere."""
    return bytes(random.Random(size).choices(b"ab\r\n\0", k=size))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What both servers serve: a file of each size by its number, and room for what is sent."""
    root = tmp_path_factory.mktemp("root")
    for size in SIZES:
        (root / str(size)).write_bytes(content(size))
        (root / f"{size}.txt").write_bytes(text(size))
    return root


@pytest.fixture(scope="module", params=list(PORTS.values()), ids=list(PORTS))
def server(request: pytest.FixtureRequest, root: Path) -> Iterator[RunningServer]:
    with running_server(root, "--upload", "replace", request.param) as server:
        yield server
    assert {record["result"] for record in server.records} == {"complete"}


@FAMILIES
@each_client(*CLIENTS)
def test_get(server: RunningServer, tmp_path: Path, client: ForeignClient, ipv6: bool) -> None:
    for size in SIZES:
        client.get(server.peer(ipv6), str(size), tmp_path / "got")
        assert (tmp_path / "got").read_bytes() == content(size), f"{size} bytes"
        (tmp_path / "got").unlink()
    assert dict(client.agreed).items() <= server.await_record(str(SIZES[-1]))["options"].items()


@FAMILIES
@each_client(*CLIENTS)
def test_put(server: RunningServer, root: Path, tmp_path: Path, client: ForeignClient, ipv6: bool) -> None:
    for size in SIZES:
        (tmp_path / "source").write_bytes(content(size))
        client.put(server.peer(ipv6), tmp_path / "source", f"{client.name}-{size}")
        assert (root / f"{client.name}-{size}").read_bytes() == content(size), f"{size} bytes"
        (root / f"{client.name}-{size}").unlink()


@each_client(HPA, ATFTP, ATFTP_WINDOW)
def test_netascii_is_the_same_text_on_both_sides(
    server: RunningServer, root: Path, tmp_path: Path, client: ForeignClient
) -> None:
    for size in SIZES:
        client.get(server.peer(), f"{size}.txt", tmp_path / "got", "netascii")
        assert (tmp_path / "got").read_bytes() == text(size), f"{size} bytes"
        client.put(server.peer(), tmp_path / "got", "text", "netascii")
        assert (root / "text").read_bytes() == text(size), f"{size} bytes"


@each_client(CURL)
def test_netascii_as_curl_has_it(server: RunningServer, root: Path, tmp_path: Path, client: ForeignClient) -> None:
    """It says netascii and translates nothing: what it stores, and must be given, are the octets on the wire."""
    for size in SIZES:
        client.get(server.peer(), f"{size}.txt", tmp_path / "got", "netascii")
        encoder = Encoder()
        assert (tmp_path / "got").read_bytes() == encoder.encode(text(size)) + encoder.finish(), f"{size} bytes"
        client.put(server.peer(), tmp_path / "got", "text", "netascii")
        assert (root / "text").read_bytes() == text(size), f"{size} bytes"


@pytest.mark.slow
@each_client(CURL, HPA, ATFTP, BUSYBOX, ATFTP_WINDOW)
def test_past_block_65535(tmp_path: Path, client: ForeignClient) -> None:
    root = tmp_path / "root"
    root.mkdir()
    whole = make(root, WRAPS).read_bytes()
    with running_server(root, "--upload", "replace", "--blksize-max", "512") as server:
        client.get(server.peer(), WRAPS, tmp_path / "got")
        assert (tmp_path / "got").read_bytes() == whole
        client.put(server.peer(), tmp_path / "got", "sent")
        assert (root / "sent").read_bytes() == whole
    assert [record["blocks"] for record in server.records] == [65537, 65537]
