"""Both sides of one transfer, each in a process of its own; see test_receiving.py for what goes wrong."""

from __future__ import annotations

import os
import socket

import pytest

from blockstep.protocol.errors import LocalError
from blockstep_lab.compare.sending import listen, serve_one
from blockstep_lab.compare.separate import here
from blockstep_lab.compare.transfer import Transfer


def test_tcp_uses_the_congestion_control_that_it_is_told() -> None:
    with listen(Transfer(transport="tcp", blksize=1024, congestion="reno"), "127.0.0.1") as listener:
        chosen = listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16)
    assert chosen.rstrip(b"\0") == b"reno"


def test_a_congestion_control_that_is_not_there_is_named() -> None:
    with pytest.raises(LocalError, match="congestion control 'warp' cannot be used here: No such file"):
        listen(Transfer(transport="tcp", blksize=1024, congestion="warp"), "127.0.0.1")


def test_what_is_no_request_ends_the_service_with_a_reason() -> None:
    host = here()
    ready, theirs = os.pipe()
    serving = host.start(serve_one, Transfer(transport="udp", blksize=512, content=b"abc"), "127.0.0.1", theirs)
    os.close(theirs)
    port = int(os.read(ready, 16))
    os.close(ready)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.sendto(b"\0\4\0\0", ("127.0.0.1", port))
        sent = serving.result(10)
    assert sent.failure
    assert (sent.resends, sent.timeouts, sent.resend_points) == (None, None, ())


def test_a_client_that_asks_to_write_is_refused() -> None:
    host = here()
    ready, theirs = os.pipe()
    serving = host.start(serve_one, Transfer(transport="tcp", blksize=512, content=b"abc"), "127.0.0.1", theirs)
    os.close(theirs)
    port = int(os.read(ready, 16))
    os.close(ready)
    request = b"\0\2file\0octet\0"
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(len(request).to_bytes(4, "big") + request)
        answer = client.recv(100)
    assert answer[4:6] == b"\0\5"
    assert "no files are taken" in (serving.result(10).failure or "")
