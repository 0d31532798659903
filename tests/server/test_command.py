from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from blockstep_server import serving
from blockstep_server.command import serve
from blockstep_server.config import LogFormat, ServerConfig
from blockstep_server.upload_policy import UploadPolicy
from blockstep_server.values import Bind, PortRange, parse_network


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(serve, arguments)


def configured(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> ServerConfig:
    """What the server would have been told."""
    told: list[ServerConfig] = []
    monkeypatch.setattr(serving, "start", lambda config, _reporter, **_: told.append(config))
    result = CliRunner().invoke(serve, arguments, catch_exceptions=False, standalone_mode=False)
    assert result.exception is None
    return told[0]


def test_without_words_the_defaults_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    assert configured(monkeypatch) == ServerConfig(root=Path())


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("-b 127.0.0.1 -b [::1]:6969", {"binds": (Bind("127.0.0.1"), Bind("::1", 6969))}),
        ("-p 6969", {"port": 6969}),
        ("-W", {"uploads": UploadPolicy.CREATE}),
        ("--upload replace -W", {"uploads": UploadPolicy.REPLACE}),
        ("-W --max-upload 10M", {"uploads": UploadPolicy.CREATE, "max_upload_bytes": 10 * 1024**2}),
        ("--single-port", {"single_port": True}),
        ("--port-range 5000:5009", {"port_range": PortRange(5000, 5009)}),
        ("--blksize-max 1428 --windowsize-max 16", {"blksize_max": 1428, "windowsize_max": 16}),
        ("--refuse blksize --refuse TSIZE", {"refuse": frozenset({"blksize", "tsize"})}),
        ("--timeout 0.5 --retries 3 --max-time 60", {"timeout_s": 0.5, "retries": 3, "max_time_s": 60.0}),
        ("--max-sessions 5 --max-per-client 2", {"max_sessions": 5, "max_per_client": 2}),
        ("--allow 10.0.0.0/8", {"allow": (parse_network("10.0.0.0/8"),)}),
        ("--deny 10.0.0.0/8 --deny ::/0", {"deny": (parse_network("10.0.0.0/8"), parse_network("::/0"))}),
        ("--drain-timeout 5", {"drain_timeout_s": 5.0}),
        ("--mtu 1500", {"mtu": 1500}),
        ("--mtu auto", {"mtu": "auto"}),
        ("--log-format json", {"log_format": LogFormat.JSON}),
        ("-1", {"one_off": True}),
        ("-d", {"debug_no_fork": True}),
        ("-v -v", {"verbosity": 2}),
        ("-q", {"verbosity": -1}),
        ("--user nobody --pidfile /run/x.pid", {"user": "nobody", "pidfile": Path("/run/x.pid")}),
    ],
)
def test_words(monkeypatch: pytest.MonkeyPatch, words: str, expected: dict[str, Any]) -> None:
    assert configured(monkeypatch, *words.split()) == ServerConfig(root=Path(), **expected)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("/no/such/directory", "does not exist"),
        ("--upload perhaps", "perhaps"),
        ("--max-upload 5", "--max-upload needs --upload"),
        ("--single-port --port-range 1:2", "exclude each other"),
        ("--refuse blocksize", "blocksize"),
        ("--allow 10.0.0.1/8", "host bits"),
        ("-b 127.0.0.1:x", "is no port"),
        ("--port-range 9", "is no port range"),
        ("--user no-such-user-here", "no such user"),
    ],
)
def test_mistakes_are_usage_errors_with_a_sentence(words: str, said: str) -> None:
    result = invoke(*words.split())
    assert result.exit_code == 2
    assert said in result.output


def test_an_address_that_cannot_be_bound_is_exit_status_45() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        result = invoke("-b", f"127.0.0.1:{taken.getsockname()[1]}")
    assert result.exit_code == 45
    assert "Another server has it" in result.output


def test_the_help_is_for_people() -> None:
    result = invoke("--help")
    assert result.exit_code == 0
    assert "blockstep serve -b 127.0.0.1 -p 6969" in result.output
    for option in serve.params:
        assert option.name == "root" or getattr(option, "help", None), option.name
