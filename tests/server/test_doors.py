from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from blockstep_server.config import ServerConfig
from blockstep_server.doors import Door, open_doors, try_url
from blockstep_server.listen import CannotBind
from blockstep_server.values import Bind

HERE = Bind("127.0.0.1", 0)


@pytest.fixture
def cleanup() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def config(**known: Any) -> ServerConfig:
    return ServerConfig(**{"root": Path(), "binds": (HERE,), **known})


def test_udp_comes_first_and_each_says_what_it_is(cleanup: ExitStack, tmp_path: Path) -> None:
    path = tmp_path / "a socket"
    doors = open_doors(config(tcp=(HERE,), unix=(path,)), None, cleanup)
    assert [door.transport for door in doors] == ["udp", "tcp", "unix"]
    assert str(doors[1]) == f"127.0.0.1:{doors[1].port} (tcp)"
    assert (str(doors[2]), doors[2].port) == (f"{path} (unix)", 0)
    assert try_url(doors) == f"tftp://127.0.0.1:{doors[0].port}/NAME"
    assert try_url(doors[1:]) == f"tftp+tcp://127.0.0.1:{doors[1].port}/NAME"
    assert try_url(doors[2:]) == f"tftp+unix://{tmp_path}/a%20socket:NAME"
    cleanup.close()
    assert not path.exists()
    assert all(door.sock.fileno() == -1 for door in doors)


def test_tls_is_for_tcp_alone(cleanup: ExitStack, tmp_path: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    doors = open_doors(config(tcp=(HERE,), unix=(tmp_path / "s",)), context, cleanup)
    assert [(door.transport, door.tls is None) for door in doors] == [("udp", True), ("tls", False), ("unix", True)]
    assert try_url(doors[1:]).startswith("tftp+tls://127.0.0.1:")


def test_tcp_without_an_address_is_where_udp_is(cleanup: ExitStack) -> None:
    binds = (Bind("127.0.0.1", 0), Bind("127.0.0.2", 0), Bind("127.0.0.1", 0))
    doors = open_doors(config(binds=binds, tcp=(Bind("", 0),), udp=False), None, cleanup)
    assert [door.sock.getsockname()[0] for door in doors] == ["127.0.0.1", "127.0.0.2"]


def test_one_that_fails_leaves_none_open(cleanup: ExitStack, tmp_path: Path) -> None:
    taken = tmp_path / "taken"
    taken.write_text("a file")
    path = tmp_path / "free"
    with pytest.raises(CannotBind, match="no socket"):
        open_doors(config(unix=(path, taken)), None, cleanup)
    assert not path.exists()


def test_a_tcp_port_in_use_names_the_ways_out(cleanup: ExitStack) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        bind = Bind("127.0.0.1", taken.getsockname()[1])
        with pytest.raises(CannotBind, match=r"\(tcp\).*\n.*ss -ltnp.*--tcp"):
            open_doors(config(udp=False, tcp=(bind,)), None, cleanup)


def test_a_port_can_be_taken_over_while_old_connections_fade(cleanup: ExitStack) -> None:
    with ExitStack() as first:
        (door,) = open_doors(config(udp=False, tcp=(HERE,)), None, first)
        address = door.sock.getsockname()
        with socket.create_connection(address):
            door.sock.setblocking(True)
            door.sock.accept()[0].close()  # it says goodbye first, so its address stays in TIME_WAIT
    bind = Bind("127.0.0.1", address[1])
    assert open_doors(config(udp=False, tcp=(bind,)), None, cleanup)[0].port == address[1]


def test_sockets_that_were_passed_on_take_the_place_of_bind(
    cleanup: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    passed = [socket.socket(socket.AF_INET, kind) for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM)]
    for sock in passed:
        sock.bind(("127.0.0.1", 0))
    names = {sock.getsockname() for sock in passed}
    fds = [sock.detach() for sock in passed]
    monkeypatch.setattr("blockstep_server.systemd.take_listen_fds", lambda _environ, _pid: fds)
    doors = open_doors(config(), None, cleanup)
    assert [door.transport for door in doors] == ["udp", "tcp"]
    assert {door.sock.getsockname() for door in doors} == names


def test_wildcards_are_tried_through_loopback() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("0.0.0.0", 0))
        assert try_url([Door(sock)]) == f"tftp://127.0.0.1:{sock.getsockname()[1]}/NAME"
