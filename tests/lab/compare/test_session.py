"""The words of the command line, and what becomes of the record when a comparison is interrupted."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any, Self

import pytest

from blockstep.protocol.errors import LocalError
from blockstep_lab.compare import session as sessions
from blockstep_lab.compare.grid import Order
from blockstep_lab.compare.outcome import Observed
from blockstep_lab.compare.results import CompareResult
from blockstep_lab.compare.session import Session, Wishes
from blockstep_lab.words import WordsError
from support.compared import observed

WORDS: dict[str, Any] = {
    "file": None,
    "size": 20_000,
    "loss": "0,1",
    "delay": "5ms",
    "rate": "50mbit",
    "links": (),
    "transport": "udp",
    "windowsize": "4,16",
    "blksize": "1428",
    "cc": None,
    "repeat": 2,
    "seed": "7",
    "max_time_s": 20.0,
    "host": None,
    "tcp_port": None,
    "simulate": "all",
    "jobs": 1,
    "json_path": None,
    "resume": False,
}


def session(*, is_grid_wanted: bool = True, **changes: Any) -> Session:
    return Session(Wishes({**WORDS, **changes}, ("blockstep", "compare"), is_grid_wanted))


class FakeArena:
    """Makes runs at once; stops the process after some."""

    carrier, scheduler = "tun", "SCHED_OTHER"
    stop_after = 1_000
    stop: int | None = None

    def __init__(self, _content: bytes, **_options: Any) -> None:
        self.made = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        pass

    def run(self, order: Order) -> Observed:
        self.made += 1
        if self.made > self.stop_after and self.stop is not None:
            os.kill(os.getpid(), self.stop)
        return observed(order, 1e6, sha256="x")


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> type[FakeArena]:
    class Arena(FakeArena):
        pass

    monkeypatch.setattr(sessions, "Arena", Arena)
    return Arena


def test_a_simulated_comparison_needs_nothing_but_words() -> None:
    made = session()
    assert made.run() is None
    record = made.record()
    assert record.complete
    assert len(record.runs) == 2 * 2 * 2
    assert record.method.where == "simulation"
    assert {run.sha256 for run in record.runs} == {record.method.file_sha256}


def test_a_file_is_what_it_is_called(tmp_path: Path) -> None:
    (tmp_path / "kernel").write_bytes(b"abc")
    method = session(file=str(tmp_path / "kernel")).record().method
    assert (method.file_name, method.file_bytes) == ("kernel", 3)


@pytest.mark.parametrize(("stop", "kind"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)])
def test_what_was_done_before_an_interruption_is_kept_and_gone_on_with(
    tmp_path: Path, fake: type[FakeArena], stop: int, kind: type[BaseException]
) -> None:
    path = tmp_path / "out.json"
    fake.stop, fake.stop_after = stop, 3
    interrupted = session(simulate=None, json_path=path).run()
    assert isinstance(interrupted, kind)
    kept = CompareResult.read(path)
    assert (len(kept.runs), kept.planned_runs, kept.complete) == (3, 8, False)
    assert kept.cells
    fake.stop = None
    resumed = session(simulate=None, json_path=path, resume=True)
    assert resumed.run() is None
    record = CompareResult.read(path)
    assert record.complete
    assert record.runs[:3] == kept.runs
    assert record.method.elapsed_s >= kept.method.elapsed_s
    assert record.method.carrier == "tun"


def test_a_record_is_written_now_and_then(
    tmp_path: Path, fake: type[FakeArena], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "_WRITE_EVERY_S", 0.0)
    path = tmp_path / "out.json"
    seen: list[int] = []
    plain_run = fake.run

    def run(arena: FakeArena, order: Order) -> Observed:
        seen.append(len(CompareResult.read(path).runs) if path.exists() else 0)
        return plain_run(arena, order)

    monkeypatch.setattr(fake, "run", run)
    session(simulate=None, json_path=path).run()
    assert seen == list(range(8))


def test_resuming_what_never_began_begins(tmp_path: Path) -> None:
    made = session(json_path=tmp_path / "out.json", resume=True)
    assert made.run() is None
    assert CompareResult.read(tmp_path / "out.json").complete


@pytest.mark.parametrize("changes", [{"seed": "8"}, {"repeat": 3}, {"size": 10}, {"max_time_s": 5.0}, {"loss": "0"}])
def test_another_comparison_is_not_resumed(tmp_path: Path, changes: dict[str, Any]) -> None:
    path = tmp_path / "out.json"
    session(json_path=path).run()
    with pytest.raises(LocalError, match="another comparison"):
        session(json_path=path, resume=True, **changes)


def test_links_with_a_name_stand_for_themselves_or_beside_the_grid() -> None:
    alone = session(links=("lte", "delay 1ms"), is_grid_wanted=False).record()
    assert [link.label for link in alone.links] == ["lte", "delay 1ms"]
    beside = session(links=("lte",)).record()
    assert [link.label for link in beside.links] == [
        "loss 0 %, delay 5ms, 50mbit",
        "loss 1 %, delay 5ms, 50mbit",
        "lte",
    ]


def test_ceilings_bring_their_own_link(fake: type[FakeArena]) -> None:
    record = session(simulate=None, transport="udp,unix").record()
    assert record.links[-1].id == "local"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"links": ("lte", "lte")}, "two of the links are the same"),
        ({"transport": "tcp"}, "--simulate all is for UDP alone"),
        ({"cc": "warp"}, "unknown congestion control 'warp'"),
        ({"size": 1 << 31}, "1 GiB at most"),
        ({"host": "127.0.0.1:9", "file": "f", "transport": "unix"}, "--transport names neither"),
        ({"host": "a b", "file": "f"}, "is not an address"),
    ],
)
def test_what_cannot_be_asked_for_is_answered(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(WordsError, match=message):
        session(**changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"file": "/nowhere/kernel"}, "/nowhere/kernel: No such file or directory"),
        ({"host": "no-such-host.invalid", "file": "f"}, "no-such-host.invalid: "),
    ],
)
def test_what_is_not_there_is_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(LocalError, match=message):
        session(**changes)
