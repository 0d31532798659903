from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from blockstep_server.systemd import notify, take_listen_fds


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, []),
        ({"LISTEN_PID": "7", "LISTEN_FDS": "0"}, []),
        ({"LISTEN_PID": "8", "LISTEN_FDS": "2"}, []),
        ({"LISTEN_PID": "7"}, []),
        ({"LISTEN_PID": "x", "LISTEN_FDS": "2"}, []),
        ({"LISTEN_PID": "7", "LISTEN_FDS": "-1"}, []),
    ],
)
def test_what_is_not_for_us_is_left_alone(environ: dict[str, str], expected: list[int]) -> None:
    before = dict(environ)
    assert take_listen_fds(environ, 7) == expected
    if environ.get("LISTEN_PID") != "7" or "LISTEN_FDS" not in environ:
        assert {**environ} == {key: value for key, value in before.items() if key in environ}


def test_what_is_for_us_is_taken_once() -> None:
    environ = {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "2", "LISTEN_FDNAMES": "a:b", "PATH": "/bin"}
    inheritable = [os.get_inheritable(fd) if _is_open(fd) else None for fd in (3, 4)]
    assert take_listen_fds(environ, os.getpid()) == [3, 4]
    assert environ == {"PATH": "/bin"}
    assert take_listen_fds(environ, os.getpid()) == []
    for fd, before in zip((3, 4), inheritable, strict=True):
        if before is not None:
            assert not os.get_inheritable(fd)
            os.set_inheritable(fd, before)


def test_a_notification_reaches_a_manager(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        assert notify("READY=1", str(tmp_path / "notify"))
        assert manager.recv(100) == b"READY=1"


def test_an_abstract_name_is_understood() -> None:
    name = f"blockstep-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(f"\0{name}")
        assert notify("STOPPING=1", f"@{name}")
        assert manager.recv(100) == b"STOPPING=1"


@pytest.mark.parametrize("address", [None, "", "relative", "/nonexistent/socket"])
def test_without_a_manager_nothing_happens(address: str | None) -> None:
    assert not notify("READY=1", address)


def _is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True
