from __future__ import annotations

import socket

import pytest

from blockstep_client.pathmtu import largest_blksize
from blockstep_client.resolve import Address

LOOPBACK = Address(socket.AF_INET, ("127.0.0.1", 69))


def test_loopback_takes_large_blocks() -> None:
    assert 8192 <= largest_blksize(LOOPBACK) <= 65464


def test_a_path_that_is_not_known_gets_the_default() -> None:
    assert largest_blksize(Address(socket.AF_INET6, ("fe80::1", 69))) == 1428


@pytest.mark.parametrize(("mtu", "blksize"), [(1500, 1468), (1280, 1248), (68, 512), (65536, 65464)])
def test_a_block_and_its_headers_fill_the_mtu(monkeypatch: pytest.MonkeyPatch, mtu: int, blksize: int) -> None:
    class Routed(socket.socket):
        def getsockopt(self, *_args: int) -> int:  # type: ignore[override]
            return mtu

    monkeypatch.setattr(socket, "socket", Routed)
    assert largest_blksize(LOOPBACK) == blksize
