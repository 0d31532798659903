"""Through a bad hop: the lab's relay drops packets both ways by a fixed seed, and the file arrives all the same.

What may be asked of such a run is counted, not timed: which packets are lost follows from the seed and their order, how
often something goes out again also from how busy the machine is. So the bounds are a few times what the loss explains:
a run that sends everything five times fails, one that a slow machine made nervous does not.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from blockstep_client.command import get, put
from blockstep_lab.relay import Relay
from support.foreign_clients import ATFTP, BUSYBOX, CURL, HPA, ForeignClient, each_client
from support.processes import RunningServer, running_server

# in lock-step each loss costs a time-out, so there 5 % of a smaller file says as much in less time
SIZES = {1: 1 << 20, 5: 1 << 18}
CONTENTS = {percent: random.Random(percent).randbytes(size) for percent, size in SIZES.items()}
SMALL = CONTENTS[5][: 1 << 16]

CASES = [(window, percent, seed) for window in (1, 16) for percent in SIZES for seed in (1, 2)]
EVERY_CASE = pytest.mark.parametrize(
    ("window", "percent", "seed"),
    CASES,
    ids=[f"window {window}, {percent} %, seed {seed}" for window, percent, seed in CASES],
)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("root")
    for percent, content in CONTENTS.items():
        (root / f"file-{percent}").write_bytes(content)
    (root / "small").write_bytes(SMALL)
    return root


@pytest.fixture(scope="module")
def server(root: Path) -> Iterator[RunningServer]:
    with running_server(root, "--upload", "replace") as server:
        yield server
    assert {record["result"] for record in server.records} == {"complete"}


def lossy(server: RunningServer, percent: int, seed: int) -> Relay:
    return Relay(
        upstream=server.peer(), conditions_up=f"loss {percent}%", conditions_down=f"loss {percent}%", seed=seed
    )


def run(command: click.Command, *words: str) -> dict[str, Any]:
    """The record of a transfer that must succeed."""
    result = CliRunner().invoke(command, ["--json", "-r", "20", *words])
    assert result.exit_code == 0, result.output
    record: dict[str, Any] = json.loads(result.stdout)
    return record


def most_resends(window: int, percent: int) -> int:
    """A loss costs a window at most; a block can be lost and so can the ACK of its window. Three times that."""
    blocks = SIZES[percent] // 1428 + 1
    losses = blocks * percent / 100 * (1 + 1 / window)
    return round(3 * window * (losses + 1))


@EVERY_CASE
def test_get(server: RunningServer, tmp_path: Path, window: int, percent: int, seed: int) -> None:
    with lossy(server, percent, seed) as relay:
        host, port = relay.address[:2]
        run(get, "-w", str(window), f"tftp://{host}:{port}/file-{percent}", "-o", str(tmp_path / "got"))
        report = relay.report()
    assert (tmp_path / "got").read_bytes() == CONTENTS[percent]
    assert report.down.counters.lost > 0
    record = server.await_record(f"file-{percent}")
    assert record["resends"] <= most_resends(window, percent), (record, report.to_table())


@EVERY_CASE
def test_put(server: RunningServer, root: Path, tmp_path: Path, window: int, percent: int, seed: int) -> None:
    (tmp_path / "source").write_bytes(CONTENTS[percent])
    name = f"sent-{window}-{percent}-{seed}"
    with lossy(server, percent, seed) as relay:
        host, port = relay.address[:2]
        record = run(put, "-w", str(window), str(tmp_path / "source"), f"tftp://{host}:{port}/{name}")
        report = relay.report()
    assert (root / name).read_bytes() == CONTENTS[percent]
    assert report.up.counters.lost > 0
    assert record["resends"] <= most_resends(window, percent), (record, report.to_table())


@each_client(CURL, HPA, ATFTP, BUSYBOX)
def test_everybody_s_get(server: RunningServer, tmp_path: Path, client: ForeignClient) -> None:
    """All of them wait for whole seconds before they ask again; our server does not let it come to that."""
    with lossy(server, 5, seed=0) as relay:
        client.get(relay.address[:2], "small", tmp_path / "got")
        report = relay.report()
    assert (tmp_path / "got").read_bytes() == SMALL
    assert report.down.counters.lost > 0


# Left out: tftp-hpa, which answers a repeated ACK with nothing and waits 5 s for each of its own packets that is lost.
@each_client(CURL, ATFTP, BUSYBOX)
def test_everybody_s_put(server: RunningServer, root: Path, tmp_path: Path, client: ForeignClient) -> None:
    (tmp_path / "source").write_bytes(SMALL)
    with lossy(server, 5, seed=0) as relay:
        client.put(relay.address[:2], tmp_path / "source", client.name)
        report = relay.report()
    assert (root / client.name).read_bytes() == SMALL
    assert report.up.counters.lost > 0
