"""The server process with streams and a control socket: what it does beside moving files."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from blockstep.protocol.errors import TransferFailed
from blockstep.protocol.framing import frame
from blockstep.protocol.wire import ErrorPacket, Opcode, Request
from blockstep_server.status_command import ask
from support.ownership import STAY, hand_over
from support.supervised import Supervised
from support.transports import transport_server

CONTENT = bytes(range(256)) * 40_000
READ = Request(Opcode.RRQ, "file", "octet", (("blksize", "65536"),)).to_bytes()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    root.mkdir()
    (root / "file").write_bytes(CONTENT)
    (root / "small").write_bytes(b"small")
    hand_over(root)
    return root


@pytest.fixture
def control(tmp_path: Path) -> Path:
    return tmp_path / "control"


def told(control: Path, word: str = "status") -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(ask(control, word))
    return answer


@pytest.mark.parametrize("kind", ["tcp", "unix", "udp"])
def test_status_shows_a_transfer_while_it_runs(root: Path, control: Path, kind: str) -> None:
    with transport_server(kind, root, "--control", str(control)) as server:
        assert stat.S_IMODE(control.stat().st_mode) == 0o600
        assert told(control)["transfers"] == []
        with server.raw() as client:
            client.say(Request(Opcode.RRQ, "file", "octet", (("blksize", "512"), ("tsize", "0"))).to_bytes())
            assert client.hear()[:2] == b"\0\6"
            (transfer,) = told(control)["transfers"]
            client.say(ErrorPacket(0, "enough").to_bytes())
        expected = {"transport": kind, "op": "read", "file": "file", "mode": "octet"}
        assert {key: transfer[key] for key in expected} == expected
        assert transfer["options"] == {"blksize": 512, "tsize": len(CONTENT)}
        assert transfer["pid"] != server.pid
        server.await_transfers(1)
        server.await_idle()
        after = told(control)
        assert (after["transfers"], after["places"], after["phase"]) == ([], 0, "serving")
        assert after["totals"]["requests"] == 1
        assert after["totals"]["rows"][0]["transport"] == kind
    assert not control.exists()


def test_the_bytes_of_a_running_transfer_grow(root: Path, control: Path) -> None:
    with transport_server("tcp", root, "--control", str(control)) as server, server.raw() as client:
        client.say(READ)
        heard = [client.hear(), client.hear()]
        seen: list[int] = []
        while not seen or seen[-1] < 20 * 65536:
            heard.append(client.hear())
            seen += [each["bytes"] for each in told(control)["transfers"]]
            if len(heard) > len(CONTENT) // 65536:
                break
        assert seen == sorted(seen)
        client.say(ErrorPacket(0, "enough").to_bytes())
        server.await_transfers(1)


def test_drain_lets_transfers_end_and_takes_no_more(root: Path, control: Path) -> None:
    with transport_server("tcp", root, "--control", str(control)) as server:
        busy, idle = server.raw(), server.raw()
        with busy, idle:
            idle.say(Request(Opcode.RRQ, "small", "octet", ()).to_bytes())
            assert idle.hear() == b"\0\3\0\1small"
            idle.say(b"\0\4\0\1")
            server.await_transfers(1)
            busy.say(Request(Opcode.RRQ, "small", "octet", ()).to_bytes())
            assert busy.hear() == b"\0\3\0\1small"
            answer = told(control, "drain")
            assert (answer["ok"], answer["phase"], answer["places"]) == (True, "draining", 2)
            assert b"the server is stopping" in idle.hear(), "nothing was under way on it"
            with pytest.raises(TransferFailed, match="no server listens"):
                server.raw()
            assert told(control, "drain")["phase"] == "draining", "a second one does not cut it short"
            assert told(control)["phase"] == "draining"
            busy.say(b"\0\4\0\1")
            assert server.await_event("transfer")["result"] == "complete"
        assert server.process.wait(30) == 0
        assert not control.exists()


def test_reload_changes_limits_for_who_asks_next(root: Path, control: Path, tmp_path: Path) -> None:
    settings = tmp_path / "my.toml"
    settings.write_text("[serve]\nblksize-max = 4096\n")
    doors = [*STAY, "-b", "127.0.0.1:0", "--tcp", "0", "--control", str(control), "--log-format", "json"]
    argv = [sys.executable, "-W", "error", "-m", "blockstep", "--config", str(settings), "serve", str(root), *doors]
    with Supervised(argv, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}) as server:
        port = int(server.ready["addresses"][1].split()[0].rpartition(":")[2])
        assert granted(port) == b"\0\6blksize\x004096\0"
        settings.write_text("[serve]\nblksize-max = 512\nport = 6969\nretries = 2\nmax-sessions = 3\n")
        answer = told(control, "reload")
        assert answer["changed"]["blksize-max"] == {"from": 4096, "to": 512}
        assert answer["changed"]["max-sessions"] == {"from": 1000, "to": 3}
        assert answer["needs_restart"] == ["port"]
        assert "only a restart changes port" in server.await_event("note")["message"]
        assert granted(port) == b"\0\6blksize\x00512\0"
        assert told(control)["limits"]["max-sessions"] == 3
        settings.write_text("[serve]\nblksize-max = 'x'\n")
        assert "nothing was reloaded" in told(control, "reload")["error"]
        settings.write_text("[serve]\nblksize-max = 1024\n")
        server.process.send_signal(signal.SIGHUP)
        assert "blksize-max 512 -> 1024" in server.await_event("note")["message"]
        assert granted(port) == b"\0\6blksize\x001024\0"
        settings.unlink()
        server.process.send_signal(signal.SIGHUP)
        assert "SIGHUP: nothing was reloaded" in server.await_event("note")["message"]
        assert server.stop() == 0


def granted(port: int) -> bytes:
    """What the server answers to a wish for large blocks."""
    with socket.create_connection(("127.0.0.1", port), 30) as sock:
        sock.sendall(frame(READ))
        length = int.from_bytes(sock.recv(4, socket.MSG_WAITALL), "big")
        return sock.recv(length, socket.MSG_WAITALL)


def test_without_a_settings_file_there_is_nothing_to_reload(root: Path, control: Path) -> None:
    with transport_server("udp", root, "--control", str(control)) as server:
        assert "no settings file" in told(control, "reload")["error"]
        server.process.send_signal(signal.SIGHUP)
        assert "no settings file" in server.await_event("note")["message"]
        assert "no command 'stop'" in told(control, "stop")["error"]


def test_a_second_server_does_not_take_the_sockets_of_the_first(root: Path, control: Path, tmp_path: Path) -> None:
    with transport_server("udp", root, "--control", str(control)):
        for option in ("--control", "--unix"):
            argv = [sys.executable, "-m", "blockstep", "serve", str(root), "-b", "127.0.0.1:0", option, str(control)]
            done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)
            assert done.returncode == 45
            assert "Another server has it" in done.stderr
        assert told(control)["ok"]


@pytest.fixture
def tcp_server(root: Path, request: pytest.FixtureRequest) -> Iterator[Supervised]:
    argv = [sys.executable, "-W", "error", "-m", "blockstep", "serve", str(root), "--log-format", "json", *STAY]
    words = ["--no-udp", "--tcp", "127.0.0.1:0", *request.param]
    with Supervised([*argv, *words], env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}) as server:
        yield server


@pytest.mark.parametrize("tcp_server", [["-1"], ["-d"]], ids=["one off", "without a fork"], indirect=True)
def test_one_request_and_its_status(tcp_server: Supervised) -> None:
    assert len(tcp_server.ready["addresses"]) == 1
    with socket.create_connection(tcp_server.address, 30) as sock:
        sock.sendall(frame(Request(Opcode.RRQ, "none", "octet", ()).to_bytes()))
        sock.shutdown(socket.SHUT_WR)
        assert tcp_server.await_event("transfer")["result"] == "refused"
        assert tcp_server.process.wait(30) == 68


@pytest.mark.parametrize("tcp_server", [[]], indirect=True)
def test_children_of_connections_die_with_a_supervisor_that_is_killed(tcp_server: Supervised) -> None:
    with socket.create_connection(tcp_server.address, 30) as sock:
        sock.sendall(frame(READ))
        assert sock.recv(4) != b""
        tcp_server.process.kill()
        sock.settimeout(30)
        while sock.recv(1 << 20):  # to the end, which comes: else nobody would be there to end it
            pass


@pytest.mark.parametrize("tcp_server", [["--drain-timeout", "0"]], indirect=True)
def test_a_stop_that_cuts_transfers_says_so(tcp_server: Supervised) -> None:
    with socket.create_connection(tcp_server.address, 30) as sock:
        sock.sendall(frame(READ))
        assert sock.recv(4) != b""
        assert tcp_server.stop() == 143
    record = tcp_server.await_event("transfer")
    assert (record["result"], record["detail"]) == ("failed", "the server is stopping")
