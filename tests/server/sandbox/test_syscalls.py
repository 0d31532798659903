from __future__ import annotations

from collections import Counter

import pytest

from blockstep_server.sandbox.syscalls import CONNECTION, DEADLY, NUMBERS, READER, WRITER

OPENING = {"openat", "openat2", "open", "creat", "socket", "connect", "bind", "accept", "accept4", "memfd_create"}
RIGHTS = {"setuid", "setgid", "setgroups", "capset", "prctl", "chmod", "chown", "kill", "tgkill", "setrlimit"}


@pytest.mark.parametrize("column", [0, 1], ids=["x86_64", "aarch64"])
def test_a_number_means_one_call(column: int) -> None:
    numbers = Counter(each[column] for each in NUMBERS.values() if each[column] is not None)
    assert [number for number, times in numbers.items() if times > 1] == []


def test_every_name_has_a_number_and_every_number_a_use() -> None:
    assert set(CONNECTION) | set(DEADLY) == set(NUMBERS)


def test_the_lists_grow_with_what_a_child_does() -> None:
    assert set(READER) < set(WRITER) < set(CONNECTION)
    assert not set(DEADLY) & set(CONNECTION)


def test_a_transfer_opens_nothing_and_nobody_gains_rights() -> None:
    assert not OPENING & set(WRITER)
    assert not RIGHTS & set(CONNECTION)
    assert CONNECTION.keys() & OPENING == {"openat", "openat2"}


def test_who_only_reads_changes_no_file() -> None:
    changing = {"pwrite64", "pwritev", "linkat", "renameat", "unlinkat", "ftruncate", "fchmod"}
    assert not changing & set(READER)
