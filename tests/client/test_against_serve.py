"""The client against `blockstep serve` in a process of its own: real files, both families, both ways to use ports."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner

from blockstep_client.command import get, put
from blockstep_lab.trace.capture import read_capture
from blockstep_lab.trace.outcome import Result, outcome_of
from blockstep_lab.trace.rules import check
from support.ownership import hand_over

SIZES = [0, 1, 511, 512, 513, 1427, 1428, 1429, 1428 * 16, 1428 * 17 + 5]
WRAP = 8 * 65536 + 3  # at blksize 8 the wire numbers start again


@contextmanager
def serving(root: Path, *flags: str) -> Iterator[int]:
    """The port of a server that serves `root` and takes uploads; it is stopped at the end."""
    hand_over(root)
    command = [sys.executable, "-c", "from blockstep_server.command import serve; serve()", str(root), "-W", *flags]
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as server:
        try:
            assert server.stdout is not None
            ready = server.stdout.readline().decode()
            found = re.search(r":([0-9]+) \(udp\)", ready)
            assert found, ready + server.stdout.read().decode()
            yield int(found[1])
        finally:
            server.send_signal(signal.SIGTERM)
            server.communicate(timeout=20)


def has_ipv6_loopback() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


def pattern(size: int) -> bytes:
    return (bytes(range(251)) * (size // 251 + 1))[:size]


def put_and_get(directory: Path, url: str, content: bytes, *flags: str) -> None:
    """Send `content`, fetch it, compare."""
    sent, fetched = directory / "sent", directory / "fetched"
    sent.write_bytes(content)
    for command, arguments in ((put, [str(sent), url]), (get, [url, "-o", str(fetched)])):
        result = CliRunner().invoke(command, [*flags, *arguments])
        assert result.exit_code == 0, result.output
    assert fetched.read_bytes() == content


@pytest.fixture(scope="module", params=["--single-port", "--no-single-port"])
def port(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with serving(tmp_path_factory.mktemp("root"), "-b", "127.0.0.1:0", request.param) as port:
        yield port


@pytest.mark.parametrize("flags", [[], ["-w", "1"], ["--no-options"], ["-b", "auto"]], ids=" ".join)
def test_every_size_goes_and_comes(port: int, tmp_path: Path, flags: list[str]) -> None:
    for size in SIZES:
        name = f"{size}{''.join(flags)}"
        put_and_get(tmp_path, f"127.0.0.1:{port}/{name}", pattern(size), *flags)


def test_wire_numbers_start_again(port: int, tmp_path: Path) -> None:
    put_and_get(tmp_path, f"127.0.0.1:{port}/wrap", pattern(WRAP), "-b", "8", "-w", "64")


def test_text_goes_and_comes_in_netascii(port: int, tmp_path: Path) -> None:
    text = b"one\ntwo\rthree\r\n\0\r" * 300
    put_and_get(tmp_path, f"tftp://127.0.0.1:{port}/text;mode=netascii", text)


def test_an_upload_onto_a_file_is_refused(port: int, tmp_path: Path) -> None:
    url = f"127.0.0.1:{port}/taken"
    put_and_get(tmp_path, url, b"first")
    result = CliRunner().invoke(put, [str(tmp_path / "sent"), url])
    assert result.exit_code == 73
    assert "--upload replace" in result.stderr


@pytest.mark.parametrize(("name", "code"), [("missing", 68), ("../outside", 69)])
def test_what_is_not_served_leaves_nothing(port: int, tmp_path: Path, name: str, code: int) -> None:
    result = CliRunner().invoke(get, [f"127.0.0.1:{port}/{name}", "-o", str(tmp_path / "a")])
    assert result.exit_code == code
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not has_ipv6_loopback(), reason="no ::1 here")
def test_ipv6(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    with serving(root, "-b", "[::1]:0") as port:
        put_and_get(tmp_path, f"tftp://[::1]:{port}/a", pattern(5000))
        put_and_get(tmp_path, f"[::1]:{port}/b", pattern(5000), "-6")


def test_a_capture_tells_the_whole_transfer(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    content = pattern(1428 * 40 + 7)
    (root / "file").write_bytes(content)
    capture = tmp_path / "x.pcapng"
    with serving(root, "-b", "127.0.0.1:0") as port:
        out = tmp_path / "out"
        url = f"tftp://127.0.0.1:{port}/file"
        result = CliRunner().invoke(get, ["--pcap", str(capture), url, "-o", str(out)])
        assert result.exit_code == 0, result.output
    with capture.open("rb") as stream:
        read = read_capture(stream)
    (transfer,) = read.transfers
    assert (read.others, read.repeated, check(transfer)) == (0, 0, [])
    assert outcome_of(transfer).result is Result.COMPLETE
    assert transfer.asked == ("127.0.0.1", port)
