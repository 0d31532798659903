"""Labs for the tests of this folder, or the reason why there are none."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from blockstep_lab.netns.lab import Lab
from support.labs import obstacle


@pytest.fixture(autouse=True)
def _needs_a_lab(request: pytest.FixtureRequest) -> None:
    if request.node.get_closest_marker("netns") is not None and obstacle():
        pytest.skip(obstacle())


@pytest.fixture(scope="module")
def shared_lab() -> Iterator[Lab]:
    """One lab for the tests of a file that leave it as it was, or set their own conditions first."""
    if obstacle():
        pytest.skip(obstacle())
    with Lab(seed=7) as lab:
        yield lab
