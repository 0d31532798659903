from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from blockstep_server.openat2 import is_available, open_beneath


@pytest.fixture
def dir_fd(tmp_path: Path) -> Iterator[int]:
    fd = os.open(tmp_path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    if not is_available(fd):
        os.close(fd)
        pytest.skip("this kernel has no openat2")
    yield fd
    os.close(fd)


def test_opens_below_and_closes_on_exec(tmp_path: Path, dir_fd: int) -> None:
    (tmp_path / "x").write_bytes(b"here")
    fd = open_beneath(dir_fd, b"x", os.O_RDONLY)
    assert os.read(fd, 10) == b"here"
    assert not os.get_inheritable(fd)
    os.close(fd)


@pytest.mark.parametrize("path", [b"..", b"/etc/passwd", b"link", b"a/../../x"])
def test_the_kernel_refuses_every_way_out(tmp_path: Path, dir_fd: int, path: bytes) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "link").symlink_to("/etc/passwd")
    with pytest.raises(OSError) as caught:
        open_beneath(dir_fd, path, os.O_RDONLY)
    assert caught.value.errno == errno.EXDEV


def test_is_not_available_on_what_is_no_directory() -> None:
    assert not is_available(-1)
