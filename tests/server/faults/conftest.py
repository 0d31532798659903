"""What the tests of this folder break things on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.faulty_place import Place
from support.fuse import mounting_obstacle


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A server on a folder that fails or waits on demand; skips where no file system can be mounted."""
    if obstacle := mounting_obstacle("fuse"):
        pytest.skip(obstacle)
    made = Place(tmp_path_factory.mktemp("root"), tmp_path_factory.mktemp("sent") / "file")
    try:
        yield made
    finally:
        made.close()
