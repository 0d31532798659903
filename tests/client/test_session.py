"""Whole transfers against a server that follows a script, on loopback: what arrives, what is said, what is left."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from blockstep.protocol.errors import ErrorCode
from blockstep.protocol.wire import Ack, Data, ErrorPacket, OptionAck, ack_bytes
from blockstep.transport.atomic import AtomicFileSink
from blockstep.transport.files import FileSource
from blockstep_client.command import get, put
from support.scripted_server import Conversation, Script, ScriptedServer, scripted, serve

QUICK = ["-t", "0.05", "-r", "2"]
SIZES = [0, 1, 511, 512, 513, 1428, 1429, 1428 * 16, 1428 * 16 + 1, 100_000]


def run(command: click.Command, *arguments: str) -> Result:
    return CliRunner().invoke(command, arguments)


def record(result: Result) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def pattern(size: int) -> bytes:
    return (bytes(range(251)) * (size // 251 + 1))[:size]


def answers(*packets: bytes) -> Script:
    """A server that says this, whatever it is asked, a packet for each that it gets."""
    return lambda conversation: conversation.say(*packets)


def refuses(code: int, text: str) -> Script:
    return answers(ErrorPacket(code, text).to_bytes())


def data(block: int, payload: bytes) -> bytes:
    return Data(block, memoryview(payload)).to_bytes()


def silence(conversation: Conversation) -> None:
    """Says nothing."""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory."""
    directory = tmp_path / "here"
    directory.mkdir()
    monkeypatch.chdir(directory)
    return directory


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The directory that the well-behaved server serves."""
    directory = tmp_path / "root"
    directory.mkdir()
    return directory


@pytest.fixture
def server(root: Path) -> Iterator[ScriptedServer]:
    def source(name: str) -> FileSource:
        return FileSource(os.open(root / name, os.O_RDONLY))

    def sink(name: str) -> AtomicFileSink:
        return AtomicFileSink.at(root / name)

    with scripted(serve(source, sink)) as server:
        yield server


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("flags", [[], ["-w", "1", "-b", "512"], ["--no-options"]], ids=["default", "plain", "bare"])
def test_a_file_goes_and_comes(server: ScriptedServer, root: Path, here: Path, size: int, flags: list[str]) -> None:
    (here / "a").write_bytes(pattern(size))
    assert run(put, *flags, "a", server.url("b")).exit_code == 0
    assert (root / "b").read_bytes() == pattern(size)
    assert run(get, *flags, server.url("b")).exit_code == 0
    assert (here / "b").read_bytes() == pattern(size)


def test_netascii_goes_there_and_back(server: ScriptedServer, root: Path, here: Path) -> None:
    (here / "a").write_bytes(b"one\ntwo\rthree\r\n")
    assert run(put, "--mode", "netascii", "a", server.url("b")).exit_code == 0
    assert (root / "b").read_bytes() == b"one\r\ntwo\r\0three\r\0\r\n", "this server keeps what it gets"
    assert [(name, "tsize" in dict(options)) for name, options in [("put", server.requests[0].options)]] == [
        ("put", False)
    ]
    result = run(get, "--json", f"tftp://127.0.0.1:{server.port}/b;mode=netascii", "-o", "c")
    assert result.exit_code == 0
    assert record(result)["mode"] == "netascii"
    assert (here / "c").read_bytes() == b"one\ntwo\rthree\r\n"


def test_several_files_each_have_a_line(server: ScriptedServer, root: Path, here: Path) -> None:
    for name in ("a", "b"):
        (here / name).write_bytes(name.encode())
    result = run(put, "a", "b", server.url(""))
    assert result.exit_code == 0
    assert [line.split(":")[0] for line in result.stdout.splitlines()] == ["a -> 127.0.0.1", "b -> 127.0.0.1"]
    assert result.stderr == ""
    assert sorted(path.name for path in root.iterdir()) == ["a", "b"]


def test_json_has_one_object_for_each_transfer(server: ScriptedServer, root: Path, here: Path) -> None:
    (root / "a").write_bytes(pattern(5000))
    found = record(run(get, "--json", server.url("a")))
    assert found["ok"] is True
    assert found["error"] is None
    assert found["remote"] == server.url("a")
    assert found["peer"].startswith("127.0.0.1:")
    assert found["peer"] != f"127.0.0.1:{server.port}"
    expected = {"op": "get", "local": "a", "bytes": 5000, "tsize": 5000, "blksize": 1428, "windowsize": 16, "blocks": 4}
    assert {key: found[key] for key in expected} == expected


def test_quiet_prints_nothing_and_verbose_prints_the_options(server: ScriptedServer, root: Path, here: Path) -> None:
    (root / "a").write_bytes(b"1")
    assert run(get, "-q", server.url("a")).output == ""
    told = run(get, "-v", "-t", "2", server.url("a")).stderr
    assert f"asking 127.0.0.1:{server.port} for tsize=0, blksize=1428, windowsize=16, timeout=2" in told
    assert "agreed to blksize 1428, windowsize 16" in told


def test_standard_output_gets_the_file_and_nothing_else(
    server: ScriptedServer, root: Path, here: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (root / "a").write_bytes(b"text")
    assert run(get, "-o", "-", server.url("a")).output == ""
    assert capfd.readouterr().out == "text"
    assert list(here.iterdir()) == []


def test_a_pipe_is_sent_and_a_pipe_is_written(server: ScriptedServer, root: Path, here: Path) -> None:
    for name in ("in", "out"):
        os.mkfifo(here / name)
    writer = threading.Thread(target=(here / "in").write_bytes, args=(pattern(3000),))
    writer.start()
    assert run(put, "in", server.url("a")).exit_code == 0
    writer.join()
    assert "tsize" not in dict(server.requests[0].options)
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append((here / "out").read_bytes()))
    reader.start()
    assert run(get, server.url("a"), "-o", "out").exit_code == 0
    reader.join()
    assert got == [pattern(3000)]


def test_auto_asks_for_what_the_path_takes(server: ScriptedServer, root: Path, here: Path) -> None:
    (root / "a").write_bytes(pattern(100_000))
    assert record(run(get, "-b", "auto", "--json", server.url("a")))["blksize"] > 1428
    assert (here / "a").read_bytes() == pattern(100_000)


def test_an_old_file_is_replaced_unless_it_may_not_be(server: ScriptedServer, root: Path, here: Path) -> None:
    (root / "a").write_bytes(b"new")
    (here / "a").write_bytes(b"old")
    result = run(get, "--no-clobber", server.url("a"))
    assert result.exit_code == 23
    assert "exists already" in result.stderr
    assert (here / "a").read_bytes() == b"old"
    assert run(get, server.url("a")).exit_code == 0
    assert (here / "a").read_bytes() == b"new"


# What a server may do wrong. In every case the file of that name stays what it was.

FAILURES: list[tuple[str, Script, int, str]] = [
    ("silence", silence, 28, "no answer"),
    ("not found", refuses(1, "gone"), 68, 'no such file (error 1: "gone")'),
    ("access", refuses(2, "no"), 69, "does not allow it"),
    ("unknown code", refuses(99, "?"), 67, "no RFC defines"),
    ("escapes in the text", refuses(0, "\x1b[2J\x07\nx"), 67, r'"\x1b[2J\x07\x0ax"'),
    ("no text", refuses(0, ""), 67, '"no text"'),
    ("garbage", answers(b"\xff\xff\xff"), 71, "broke the protocol"),
    ("an option that was not asked", answers(OptionAck((("multicast", "1"),)).to_bytes()), 75, "not asked for"),
    ("a larger block than asked", answers(OptionAck((("blksize", "9000"),)).to_bytes()), 75, "another blksize"),
    ("a block too long", answers(data(1, bytes(600))), 71, "broke the protocol"),
    ("an error in the middle", answers(data(1, bytes(512)), ErrorPacket(3, "full").to_bytes()), 70, "no room"),
    ("silence in the middle", answers(data(1, bytes(512))), 28, "stopped answering"),
    ("less than announced", answers(OptionAck((("tsize", "9"),)).to_bytes(), data(1, b"8 bytes.")), 67, "only 8 sent"),
    ("more than announced", answers(OptionAck((("tsize", "2"),)).to_bytes(), data(1, b"abc")), 67, "more sent"),
]


@pytest.mark.parametrize(("script", "code", "said"), [row[1:] for row in FAILURES], ids=[row[0] for row in FAILURES])
@pytest.mark.parametrize("old", [b"old", None], ids=["replacing", "new"])
def test_no_failure_leaves_a_file(here: Path, script: Script, code: int, said: str, old: bytes | None) -> None:
    if old is not None:
        (here / "a").write_bytes(old)
    with scripted(script) as server:
        result = run(get, *QUICK, "--json", server.url("a"))
    assert result.exit_code == code, result.stderr
    assert said in result.stderr
    assert result.stderr.rstrip("\n").isprintable()
    assert record(result)["exit_code"] == code
    assert record(result)["error"]["message"] in result.stderr
    assert [path.name for path in here.iterdir()] == ([] if old is None else ["a"])
    assert old is None or (here / "a").read_bytes() == old


@pytest.mark.parametrize(
    ("script", "code", "said"),
    [
        (refuses(2, "read-only"), 69, "does not take this file"),
        (refuses(6, "there"), 73, "--upload replace"),
        (silence, 28, "no answer"),
        (answers(ack_bytes(0), ErrorPacket(3, "full").to_bytes()), 70, "no room"),
    ],
)
def test_a_refused_upload_says_so(here: Path, script: Script, code: int, said: str) -> None:
    (here / "a").write_bytes(pattern(600))
    with scripted(script) as server:
        result = run(put, *QUICK, "a", server.url("b"))
    assert result.exit_code == code
    assert said in result.stderr
    assert result.stdout == ""


def test_nobody_there(here: Path) -> None:
    with scripted(silence) as server:
        pass
    result = run(get, *QUICK, server.url("a"))
    assert result.exit_code == 7
    assert "nothing listens on that port" in result.stderr


def test_a_name_that_does_not_fit_into_a_request(here: Path) -> None:
    result = run(get, "127.0.0.1:" + "x" * 600, "-o", "a")
    assert result.exit_code == 1
    assert "512 may be sent" in result.stderr


@pytest.mark.parametrize(
    ("address", "code", "said"),
    [
        ("tftp+unix:///no/such/socket:a", 7, "no server listens there"),
        ("tftp+unix:///etc/hostname:a", 7, "no connection"),
        (f"{'x' * 70}:a", 6, "not a host name"),
    ],
)
def test_what_cannot_be_asked_at_all(here: Path, address: str, code: int, said: str) -> None:
    result = run(get, address)
    assert result.exit_code == code
    assert said in result.stderr


@pytest.mark.parametrize(("name", "said"), [("missing", "no such file"), (".", "is a directory")])
def test_a_local_file_that_cannot_be_read_costs_no_packet(here: Path, name: str, said: str) -> None:
    with scripted(silence) as server:
        result = run(put, name, server.url("a"))
        assert server.requests == []
    assert result.exit_code == 26
    assert said in result.stderr


def test_a_directory_that_is_not_there_is_told_to_the_server(here: Path) -> None:
    heard: list[object] = []

    def script(conversation: Conversation) -> None:
        conversation.send(OptionAck((("tsize", "5"),)).to_bytes())
        heard.append(conversation.receive())

    with scripted(script) as server:
        result = run(get, server.url("a"), "-o", "missing/a")
    assert result.exit_code == 23
    assert "missing/a: no such file or directory" in result.stderr
    assert isinstance(heard[0], ErrorPacket)


def test_one_failure_does_not_keep_the_others_from_being_tried(here: Path) -> None:
    with scripted(refuses(1, "gone"), answers(data(1, b"b")), refuses(2, "no")) as server:
        result = run(get, server.url("a"), server.url("b"), server.url("c"))
    assert result.exit_code == 68, "the first failure's"
    assert [path.name for path in here.iterdir()] == ["b"]
    assert result.stderr.count("error:") == 2


def test_a_server_that_refuses_options_is_asked_without(here: Path) -> None:
    with scripted(refuses(ErrorCode.OPTION_REFUSED, "none"), answers(data(1, b"text"))) as server:
        result = run(get, "-v", server.url("a"))
    assert result.exit_code == 0
    assert [bool(request.options) for request in server.requests] == [True, False]
    assert "refuses options" in result.stderr
    assert (here / "a").read_bytes() == b"text"


def test_a_server_that_ignores_options_is_understood(here: Path) -> None:
    with scripted(answers(data(1, bytes(512)), data(2, b"end"))) as server:
        found = record(run(get, "--json", server.url("a")))
    assert (found["blksize"], found["windowsize"], found["bytes"]) == (512, 1, 515)


def test_the_final_ack_comes_after_the_file(here: Path) -> None:
    there: list[bool] = []

    def script(conversation: Conversation) -> None:
        conversation.send(data(1, b"x"))
        assert conversation.receive() == Ack(1)
        there.append((here / "a").exists())

    with scripted(script) as server:
        assert run(get, server.url("a")).exit_code == 0
    assert there == [True]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_tells_the_server_and_leaves_nothing(here: Path, number: signal.Signals) -> None:
    heard: list[object] = []

    def script(conversation: Conversation) -> None:
        conversation.send(data(1, bytes(512)))
        assert conversation.receive() == Ack(1)
        os.kill(os.getpid(), number)
        while not isinstance(packet := conversation.receive(), ErrorPacket):
            pass
        heard.append(packet)

    with scripted(script, answers(data(1, b"x"))) as server:
        result = run(get, "--json", server.url("a"), server.url("b"))
        assert len(server.requests) == 1, "the others are not tried any more"
    assert result.exit_code == 128 + number
    assert record(result)["error"]["kind"] == "stopped"
    assert len(heard) == 1
    assert list(here.iterdir()) == []


def test_max_time_ends_a_transfer_that_goes_on(here: Path) -> None:
    stop = threading.Event()

    def script(conversation: Conversation) -> None:
        block = 1
        while not stop.is_set():
            conversation.send(data(block, bytes(512)))
            if isinstance(conversation.receive(), ErrorPacket):
                return
            block += 1

    with scripted(script) as server:
        result = run(get, "--max-time", "0.2", server.url("a"))
        stop.set()
    assert result.exit_code == 28
    assert "--max-time" in result.stderr
    assert list(here.iterdir()) == []


def test_only_the_address_that_was_asked_may_answer(here: Path) -> None:
    def script(conversation: Conversation) -> None:
        with _socket_at("127.0.0.2") as forger:
            forger.sendto(data(1, b"forged"), conversation.client)
            conversation.send(data(1, b"true"))

    with scripted(script) as server:
        assert run(get, server.url("a")).exit_code == 0
        assert (here / "a").read_bytes() == b"true"


def test_any_source_takes_the_answer_of_a_broken_server(here: Path) -> None:
    def script(conversation: Conversation) -> None:
        with _socket_at("127.0.0.2") as other:
            other.sendto(data(1, b"from elsewhere"), conversation.client)

    with scripted(script) as server:
        assert run(get, *QUICK, server.url("a")).exit_code == 28
        assert run(get, *QUICK, "--any-source", server.url("a")).exit_code == 0
    assert (here / "a").read_bytes() == b"from elsewhere"


def _socket_at(address: str) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((address, 0))
    return sock
