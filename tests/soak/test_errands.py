"""What a client claims is held against what is there, and it may own up to a failure that its exit status hides."""

from __future__ import annotations

import hashlib
import random
from pathlib import Path

import pytest

from soak.errands import Errand, Verdict, World, draw, judge


def is_upload_of(errand: Errand, client: str) -> bool:
    return errand.is_put and errand.client == client


@pytest.mark.peers("tftp", "busybox")
@pytest.mark.parametrize("client", ["tftp-hpa", "busybox", "busybox-1428", "blockstep"])
@pytest.mark.parametrize(
    ("status", "said", "is_there", "verdict"),
    [
        (0, b"", True, Verdict.DONE),
        (0, b"", False, Verdict.WRONG),
        (0, b"up-1  100% |****|\ntftp: timeout\n", False, Verdict.FAILED),
        (0, b"up-1  100% |****|\ntftp: server error: (5) unknown transfer ID\n", False, Verdict.FAILED),
        (1, b"", False, Verdict.FAILED),
    ],
)
def test_a_claim_is_held_against_what_is_there(
    tmp_path: Path, client: str, status: int, said: bytes, is_there: bool, verdict: Verdict
) -> None:
    if client == "blockstep" and said:
        verdict = Verdict.WRONG  # ours has an exit status
    world = World(tmp_path / "root", tmp_path, "127.0.0.1", 69, 69)
    world.root.mkdir()
    world.make_files(1)
    chance = random.Random(1)
    errand = next(
        each for each in (draw(world, chance, number) for number in range(10_000)) if is_upload_of(each, client)
    )
    if is_there:
        errand.remote.write_bytes(errand.local.read_bytes())
    assert hashlib.sha256(errand.local.read_bytes()).hexdigest() == errand.digest
    assert judge(errand, status, said) is verdict
