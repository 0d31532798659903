from __future__ import annotations

from blockstep_lab.compare.transfer import Transfer


def test_only_datagrams_are_no_stream() -> None:
    assert [Transfer(transport=each, blksize=512).is_stream for each in ("udp", "tcp", "unix")] == [False, True, True]


def test_nothing_is_counted_where_no_device_is_named() -> None:
    assert Transfer(transport="udp", blksize=512).counts() == (0, 0)


def test_a_device_is_counted() -> None:
    loopback = Transfer(transport="udp", blksize=512, device="lo")
    assert loopback.counts() >= (0, 0)
