from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from blockstep.protocol.errors import ErrorCode, RemoteError
from blockstep_server.paths import Root
from blockstep_server.upload_policy import UploadPolicy, open_upload


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Root]:
    (tmp_path / "old").write_bytes(b"old")
    with Root(tmp_path) as opened:
        yield opened


def test_none_takes_nothing_and_tells_nothing(root: Root) -> None:
    for name in ("old", "new", "none/new", ".."):
        with pytest.raises(RemoteError, match="takes no uploads") as caught:
            open_upload(root, name, UploadPolicy.NONE)
        assert caught.value.code is ErrorCode.ACCESS_VIOLATION


@pytest.mark.parametrize("policy", [UploadPolicy.CREATE, UploadPolicy.REPLACE])
def test_new_names_are_taken(root: Root, tmp_path: Path, policy: UploadPolicy) -> None:
    with open_upload(root, "\\new", policy, expected_bytes=3) as sink:
        sink.writev([memoryview(b"new")])
        sink.commit()
    assert (tmp_path / "new").read_bytes() == b"new"


def test_create_refuses_a_name_that_is_there_and_replace_takes_it(root: Root, tmp_path: Path) -> None:
    with pytest.raises(RemoteError) as caught:
        open_upload(root, "old", UploadPolicy.CREATE)
    assert caught.value.code is ErrorCode.FILE_EXISTS
    with open_upload(root, "old", UploadPolicy.REPLACE) as sink:
        sink.commit()
    assert (tmp_path / "old").read_bytes() == b""


def test_what_is_announced_too_large_is_refused_before_it_is_sent(root: Root, tmp_path: Path) -> None:
    for expected, limit in [(11, 10), (1 << 62, None)]:
        with pytest.raises(RemoteError) as caught:
            open_upload(root, "new", UploadPolicy.CREATE, expected_bytes=expected, max_bytes=limit)
        assert caught.value.code is ErrorCode.DISK_FULL
    assert os.listdir(tmp_path) == ["old"]


def test_the_words_are_those_of_the_command_line() -> None:
    assert [policy.value for policy in UploadPolicy] == ["none", "create", "replace"]
