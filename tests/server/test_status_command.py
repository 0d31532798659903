from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from blockstep_server import status_command
from blockstep_server.status_command import status, table

ANSWER: dict[str, Any] = {
    "ok": True,
    "version": "1.0",
    "pid": 5,
    "phase": "serving",
    "uptime_s": 3725.5,
    "root": "/srv/tftp",
    "listening": ["127.0.0.1:69 (udp)", "127.0.0.1:6970 (tcp)"],
    "places": 2,
    "limits": {"max-sessions": 1000},
    "transfers": [
        {
            "peer": "127.0.0.1:5",
            "transport": "tcp",
            "op": "read",
            "file": "a\x1b[2J",
            "bytes": 3 << 20,
            "bytes_per_s": 1536,
            "seconds": 2.5,
            "resends": 0,
        }
    ],
    "totals": {
        "rows": [{"transport": "udp", "op": "", "result": "refused", "count": 3, "bytes": 0, "resends": 0}],
        "refused": {"over --max-sessions": 7},
    },
}


@contextmanager
def answering(path: Path, *answers: bytes) -> Iterator[list[bytes]]:
    """A server that gives these answers, one to a connection; what it was asked."""
    asked: list[bytes] = []
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def serve() -> None:
            for answer in answers:
                with listener.accept()[0] as sock:
                    asked.append(sock.recv(100))
                    sock.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        yield asked
        thread.join()


def run(*arguments: str) -> Result:
    return CliRunner().invoke(status, arguments)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "control"


def test_the_table_says_what_runs_and_what_has_been(path: Path) -> None:
    with answering(path, json.dumps(ANSWER).encode() + b"\n") as asked:
        result = run(str(path))
    assert asked == [b"status\n"]
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "blockstep 1.0, pid 5: serving /srv/tftp for 1:02:06",
        "on 127.0.0.1:69 (udp), 127.0.0.1:6970 (tcp)",
        "1 under way, 2 of 1000 places taken",
        "",
        "PEER         TRANSPORT  OP      BYTES       RATE   TIME  RESENDS  FILE",
        r"127.0.0.1:5  tcp        read  3.0 MiB  1.5 KiB/s  2.5 s        0  a\x1b[2J",
        "",
        "TRANSPORT  OP  RESULT   REQUESTS  BYTES  RESENDS",
        "udp        -   refused         3    0 B        0",
        "",
        "not served: 7 over --max-sessions",
    ]


def test_json_is_passed_through(path: Path) -> None:
    line = json.dumps(ANSWER)
    with answering(path, line.encode() + b"\n"):
        assert run(str(path), "--json").stdout == line + "\n"


def test_watching_looks_again(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []

    def sleep(seconds: float) -> None:
        waited.append(seconds)
        if len(waited) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr("time.sleep", sleep)
    with answering(path, *[b'{"ok": true}\n'] * 3):
        result = run(str(path), "--json", "--watch", "0.5")
    assert result.stdout == '{"ok": true}\n' * 3
    assert waited == [0.5] * 3


def test_watch_alone_is_every_two_seconds(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []

    def sleep(seconds: float) -> None:
        waited.append(seconds)
        raise KeyboardInterrupt

    monkeypatch.setattr("time.sleep", sleep)
    with answering(path, b'{"ok": true}\n'):
        result = run(str(path), "--watch")
    assert waited == [2.0]
    assert "\x1b" not in result.stdout, "a pipe is not cleared"


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"", "hung up"),
        (b'{"ok": true', "hung up"),
        (b"[]\n", "no control socket"),
        (b"\xff\n", "no control socket"),
        (b"[" * 100_000 + b"\n", "no control socket"),
        (b'{"ok": false}\n', "no control socket"),
    ],
)
def test_who_answers_otherwise_is_no_server_of_ours(path: Path, answer: bytes, said: str) -> None:
    with answering(path, answer):
        result = run(str(path))
    assert result.exit_code == 7
    assert said in result.stderr


def test_nobody_there(path: Path) -> None:
    assert run(str(path)).exit_code == 7
    assert "no server listens there" in run(str(path)).stderr
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    assert "no server listens there" in run(str(path)).stderr


def test_silence_is_not_waited_for_without_end(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status_command, "_PATIENCE_S", 0.05)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        assert "no answer within 0.05 s" in run(str(path)).stderr


def test_an_older_server_may_say_less() -> None:
    assert table({"ok": True, "transfers": [{}], "totals": {"rows": [{}]}}).count("\n") > 5
