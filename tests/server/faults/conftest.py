"""What the tests of this folder break things on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.faulty_place import Place
from support.fuse import mounting_obstacle


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A server on a folder that fails or waits on demand; skips where no file system can be mounted."""
    yield from _place(tmp_path_factory, unnamed=True)


@pytest.fixture(scope="module")
def place_of_names(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """The same on a file system without O_TMPFILE."""
    yield from _place(tmp_path_factory, unnamed=False)


def _place(tmp_path_factory: pytest.TempPathFactory, *, unnamed: bool) -> Iterator[Place]:
    if obstacle := mounting_obstacle("fuse"):
        pytest.skip(obstacle)
    made = Place(tmp_path_factory.mktemp("root"), tmp_path_factory.mktemp("sent") / "file", unnamed=unnamed)
    try:
        yield made
    finally:
        made.close()
