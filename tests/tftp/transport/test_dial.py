from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from blockstep.protocol.errors import End, LocalError, TransferFailed
from blockstep.transport.dial import connect_tcp, connect_unix, set_up


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_tcp(host: str) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, 0), family=family)
    except OSError:
        pytest.skip(f"no {host} here")
    with listener, connect_tcp(listener.getsockname(), timeout_s=5) as near, listener.accept()[0] as far:
        set_up(far)
        for sock in (near, far):
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        near.sendall(b"x")
        assert far.recv(1) == b"x"


def test_unix(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        with connect_unix(path, timeout_s=5) as near, listener.accept()[0] as far:
            set_up(far)
            near.sendall(b"x")
            assert far.recv(1) == b"x"


def test_nobody_listens(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = listener.getsockname()
    stale = tmp_path / "stale"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(stale))
    calls: list[Callable[[], object]] = [
        lambda: connect_tcp(address, timeout_s=5),
        lambda: connect_unix(tmp_path / "missing", timeout_s=5),
        lambda: connect_unix(stale, timeout_s=5),
    ]
    for call in calls:
        with pytest.raises(TransferFailed, match="no server listens there") as caught:
            call()
        assert caught.value.end is End.PEER_GONE


def test_what_cannot_be_reached_says_why(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"")
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(TransferFailed, match="cannot be reached: too many levels"):
        connect_unix(tmp_path / "loop", timeout_s=5)
    with pytest.raises(TransferFailed, match="no server listens there"):
        connect_unix(file, timeout_s=5)


def test_a_path_that_is_too_long_is_our_own_mistake(tmp_path: Path) -> None:
    with pytest.raises(LocalError, match="path too long"):
        connect_unix(tmp_path / ("x" * 120), timeout_s=5)


def test_a_full_queue_times_out() -> None:
    """A listener that accepts nothing and has no more room lets a connection wait."""
    with contextlib.ExitStack() as cleanup:
        listener = cleanup.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)

        def connect_often() -> None:
            for _ in range(5):
                cleanup.enter_context(connect_tcp(listener.getsockname(), timeout_s=0.1))

        with pytest.raises(TransferFailed) as caught:
            connect_often()
        assert caught.value.end is End.TIMED_OUT
