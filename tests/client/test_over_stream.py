from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from blockstep.protocol.errors import ErrorCode, RemoteError
from blockstep_client.address import Transport
from blockstep_client.command import get, put
from support.stream_folder import StreamFolder, stream_folder
from support.streams import certificates

STREAMS = [Transport.TCP, Transport.UNIX, Transport.TLS]
SIZES = [0, 1, 511, 512, 513, 262_143, 262_144, 262_145, 1_000_000]


def pattern(size: int) -> bytes:
    return (bytes(range(251)) * (size // 251 + 1))[:size]


def run(command: click.Command, *arguments: str) -> Result:
    return CliRunner().invoke(command, ["--cafile", str(certificates().certificate("ca")), *arguments])


def record(result: Result) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(result.stdout)
    return found


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    directory = tmp_path / "here"
    directory.mkdir()
    monkeypatch.chdir(directory)
    return directory


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "folder"
    folder.mkdir()
    return folder


@pytest.mark.parametrize("transport", STREAMS)
def test_files_of_every_size_go_and_come_over_one_connection(here: Path, folder: Path, transport: Transport) -> None:
    names = [str(size) for size in SIZES]
    for size in SIZES:
        (here / str(size)).write_bytes(pattern(size))
    with stream_folder(folder, transport) as server:
        assert run(put, *names, server.url("")).exit_code == 0
        assert len(server.accepted) == 1
        for name in names:
            (here / name).unlink()
        assert run(get, *map(server.url, names)).exit_code == 0
        assert len(server.accepted) == 2
    assert [(here / name).read_bytes() == pattern(int(name)) for name in names] == [True] * len(names)


def test_the_json_has_the_same_keys_as_for_datagrams(here: Path, folder: Path) -> None:
    (folder / "a").write_bytes(pattern(300_000))
    with stream_folder(folder, Transport.TCP) as server:
        found = record(run(get, "--json", server.url("a")))
        told = run(get, "-v", server.url("a"))
    expected = {"ok": True, "transport": "tcp", "bytes": 300_000, "tsize": 300_000, "blksize": 262_144, "blocks": 2}
    assert {key: found[key] for key in expected} == expected
    assert found["peer"].startswith("127.0.0.1:")
    assert (found["srtt_s"], found["resends"], found["windowsize"]) == (None, 0, 1)
    assert "for tsize=0, blksize=262144" in told.stderr
    assert "agreed to blksize 262144" in told.stderr


def test_flags_of_the_transfer_hold(here: Path, folder: Path) -> None:
    (folder / "text").write_bytes(b"a\nb" * 1000)
    with stream_folder(folder, Transport.TCP) as server:
        assert record(run(get, "--json", "-b", "8", server.url("text")))["blocks"] == 376
        assert record(run(get, "--json", "--no-options", server.url("text")))["blksize"] == 512
        assert record(run(get, "--json", "-t", "3", server.url("text")))["timeout_s"] == 3
        assert run(get, "-o", "b", server.url("text") + ";mode=netascii").exit_code == 0
    assert (here / "b").read_bytes() == (folder / "text").read_bytes()


def test_a_connection_that_the_server_has_left_is_made_again(here: Path, folder: Path) -> None:
    """The second file is a pipe to which somebody writes only when the server has hung up after the first."""
    (here / "quick").write_bytes(b"quick")
    os.mkfifo(here / "slow")
    with stream_folder(folder, Transport.TCP) as server:

        def write_slowly() -> None:
            _until_ended(server, 1)
            server.hang_up()
            (here / "slow").write_bytes(b"content")

        writer = threading.Thread(target=write_slowly)
        writer.start()
        result = run(put, "-v", "quick", "slow", server.url(""))
        writer.join()
        assert result.exit_code == 0, result.stderr
        assert "asking on a new one" in result.stderr
        assert len(server.accepted) == 2
    assert (folder / "slow").read_bytes() == b"content"


def _until_ended(server: StreamFolder, count: int) -> None:
    while len(server.handler.ends) < count:
        threading.Event().wait(0.001)


def test_options_that_are_refused_are_left_out(here: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "a").write_bytes(b"content")
    with stream_folder(folder, Transport.TCP) as server:
        refuse_first(server, monkeypatch)
        told = run(get, "-v", server.url("a"))
    assert told.exit_code == 0
    assert "refuses options" in told.stderr
    assert (here / "a").read_bytes() == b"content"


def refuse_first(server: StreamFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    open_source = server.handler.open_source

    def refuse(request: Any) -> Any:
        if request.options:
            raise RemoteError(ErrorCode.OPTION_REFUSED, "none, please")
        return open_source(request)

    monkeypatch.setattr(server.handler, "open_source", refuse)


@pytest.mark.parametrize("transport", STREAMS)
def test_a_refusal_costs_one_file_and_not_the_connection(here: Path, folder: Path, transport: Transport) -> None:
    (folder / "b").write_bytes(b"content")
    with stream_folder(folder, transport) as server:
        result = run(get, server.url("missing"), server.url("b"))
        assert len(server.accepted) == 1
    assert result.exit_code != 0
    assert (here / "b").read_bytes() == b"content"
    assert [path.name for path in here.iterdir()] == ["b"]


def test_a_local_file_that_cannot_be_made_is_told_to_the_server(here: Path, folder: Path) -> None:
    (folder / "a").write_bytes(pattern(1_000_000))
    (here / "a").write_bytes(b"old")
    with stream_folder(folder, Transport.TCP) as server:
        result = run(get, "--no-clobber", server.url("a"))
    assert result.exit_code == 23
    assert (here / "a").read_bytes() == b"old"
    assert len(server.handler.failures) == 1
    assert server.handler.failures[0]


def test_certificates(here: Path, folder: Path) -> None:
    (folder / "a").write_bytes(b"content")
    made = certificates()
    ours = ["--cert", str(made.certificate("client")), "--key", str(made.key("client"))]
    with stream_folder(folder, Transport.TLS, client_ca=True) as server:
        assert run(get, *ours, server.url("a")).exit_code == 0
        nobody = run(get, server.url("a"))
        assert nobody.exit_code in (60, 7), "the server may hang up before its word has been read"
        assert "--cert" in nobody.stderr
        stranger = CliRunner().invoke(get, ["--json", server.url("a"), "-o", "b"])
        assert stranger.exit_code == 60
        assert "the certificate is not trusted" in stranger.stderr
        assert record(stranger)["error"]["kind"] == "not_trusted"
        assert not (here / "b").exists()
