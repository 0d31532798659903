"""`serve --pcap`: children that write into one file, whatever they have given up."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from blockstep.transport.pcapng_writer import PcapngWriter
from blockstep.transport.recording import Recorder
from blockstep_client.command import get, put
from blockstep_lab.trace.capture import Capture, read_capture
from blockstep_lab.trace.outcome import Result, outcome_of
from blockstep_lab.trace.rules import check
from blockstep_server.clerk import Service
from blockstep_server.command import serve
from blockstep_server.config import ServerConfig
from blockstep_server.paths import Root
from blockstep_server.upload_policy import UploadPolicy
from support.processes import running_server

CONTENT = bytes(range(256)) * 1000


def read(path: Path) -> Capture:
    with path.open("rb") as stream:
        return read_capture(stream)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    root.mkdir()
    (root / "file").write_bytes(CONTENT)
    return root


@pytest.mark.parametrize("ports", ["--no-single-port", "--single-port"])
def test_transfers_at_one_time_are_all_in_one_capture(ports: str, root: Path, tmp_path: Path) -> None:
    capture = tmp_path / "x.pcapng"
    with running_server(root, "--pcap", str(capture), ports) as server:
        url, get_it = server.url("file"), [sys.executable, "-m", "blockstep", "get", "-q"]
        environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        clients = [
            subprocess.Popen([*get_it, "-w", str(number), url, "-o", str(tmp_path / f"got-{number}")], env=environ)
            for number in range(1, 9)
        ]
        assert [client.wait(60) for client in clients] == [0] * 8
        asked = server.peer()
    whole = read(capture)
    assert (len(whole.transfers), whole.others, whole.cut) == (8, 0, "")
    for transfer in whole.transfers:
        assert transfer.asked == asked
        assert outcome_of(transfer).result is Result.COMPLETE
        assert check(transfer) == []


def test_a_limit_on_uploads_is_none_on_the_capture(root: Path, tmp_path: Path) -> None:
    capture = tmp_path / "x.pcapng"
    (tmp_path / "sent").write_bytes(b"x" * 900)
    with running_server(root, "--pcap", str(capture), "-W", "--max-upload", "1000") as server:
        for number in range(5):
            arguments = ["-q", str(tmp_path / "sent"), server.url(f"new-{number}")]
            assert CliRunner().invoke(put, arguments).exit_code == 0
    assert capture.stat().st_size > 5000
    assert [outcome_of(transfer).result for transfer in read(capture).transfers] == [Result.COMPLETE] * 5


def test_a_refusal_is_in_the_capture(root: Path, tmp_path: Path) -> None:
    capture = tmp_path / "x.pcapng"
    with running_server(root, "--pcap", str(capture)) as server:
        assert CliRunner().invoke(get, ["-q", server.url("none"), "-o", str(tmp_path / "got")]).exit_code == 68
    (transfer,) = read(capture).transfers
    assert outcome_of(transfer).result is Result.REFUSED


def test_a_capture_that_cannot_be_made_is_an_error_at_start(root: Path, tmp_path: Path) -> None:
    words = ["-b", "127.0.0.1:0", "--pcap", str(tmp_path / "missing" / "x.pcapng"), str(root)]
    result = CliRunner().invoke(serve, words)
    assert result.exit_code == 23
    assert "No such file" in result.stderr


def test_a_child_keeps_the_capture_open(root: Path, tmp_path: Path) -> None:
    config = ServerConfig(root=root, uploads=UploadPolicy.CREATE, max_upload_bytes=10)
    with Root(root) as opened, PcapngWriter(tmp_path / "x.pcapng") as writer:
        service = Service(config, opened, recorder=Recorder(writer))
        assert writer.fileno() in service.fds()
        assert service.needs.upload_bytes is None
        assert Service(config, opened).needs.upload_bytes == 10
