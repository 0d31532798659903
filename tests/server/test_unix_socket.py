from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

import pytest

from blockstep_server.listen import CannotBind
from blockstep_server.unix_socket import bound_unix, peer_credentials


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "socket"


@pytest.mark.parametrize("mode", [0o600, 0o660, 0o666])
def test_it_has_its_permissions_from_the_start_and_goes_away(path: Path, mode: int) -> None:
    before = os.umask(0o022)
    try:
        with bound_unix(path, mode=mode, backlog=1) as sock:
            assert stat.S_IMODE(path.stat().st_mode) == mode
            assert sock.getblocking() is False
        assert os.umask(0o022) == 0o022, "the umask is put back"
    finally:
        os.umask(before)
    assert not path.exists()


def test_who_connects_is_known(path: Path) -> None:
    with bound_unix(path, mode=0o600, backlog=1) as sock, socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        with sock.accept()[0] as accepted:
            assert peer_credentials(accepted) == (os.getpid(), os.getuid())


def test_what_a_dead_server_left_is_replaced(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
        dead.listen()
    assert path.is_socket()
    with bound_unix(path, mode=0o600, backlog=1), socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))


def test_a_live_server_is_left_alone(path: Path) -> None:
    with bound_unix(path, mode=0o600, backlog=1):
        with pytest.raises(CannotBind, match="Another server has it"), bound_unix(path, mode=0o600, backlog=1):
            pass
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
    assert not path.exists()


def test_a_live_server_whose_queue_is_full_is_alive(path: Path) -> None:
    with bound_unix(path, mode=0o600, backlog=0), socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        with pytest.raises(CannotBind, match="Another server has it"), bound_unix(path, mode=0o600, backlog=1):
            pass


def test_a_file_of_that_name_is_left_alone(path: Path) -> None:
    path.write_text("mine")
    with pytest.raises(CannotBind, match="no socket"), bound_unix(path, mode=0o600, backlog=1):
        pass
    assert path.read_text() == "mine"


@pytest.mark.parametrize(("name", "said"), [("no/such/folder", "directory has to be there"), ("x" * 200, "too long")])
def test_paths_that_cannot_be(tmp_path: Path, name: str, said: str) -> None:
    with pytest.raises(CannotBind, match=said), bound_unix(tmp_path / name, mode=0o600, backlog=1):
        pass


def test_the_socket_of_a_successor_is_not_removed(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as successor:
        with bound_unix(path, mode=0o600, backlog=1):
            path.unlink()
            successor.bind(str(path))
        assert path.is_socket()
