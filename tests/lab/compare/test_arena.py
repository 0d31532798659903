"""Runs between real network namespaces, and the ceilings beside them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from blockstep.protocol.errors import LocalError
from blockstep_lab.compare import arena as arenas
from blockstep_lab.compare.arena import Arena
from blockstep_lab.compare.grid import Order, local_link
from blockstep_lab.compare.results import MAX_TIME, OK, VOID
from blockstep_lab.netns.checks import LabChecks
from blockstep_lab.simulation import content_of
from support.compared import contender, link
from support.labs import obstacle

CONTENT = content_of(60_000)


def order(contender_id: str, where: Any = None) -> Order:
    return Order(contender(contender_id), where or link(1.0, 2.0), 0, "7")


@pytest.fixture(scope="module")
def arena() -> Iterator[Arena]:
    if obstacle():
        pytest.skip(obstacle())
    with Arena(CONTENT, max_time_s=10) as found:
        yield found


@pytest.mark.netns
@pytest.mark.parametrize("contender_id", ["udp-w1-b1428", "udp-w16-b1428", "tcp-reno"])
def test_a_run_over_a_bad_link_is_whole_and_counted(arena: Arena, contender_id: str) -> None:
    run = arena.run(order(contender_id)).run
    if run.state == VOID:
        pytest.skip(f"the machine is too busy: {run.reason}")
    assert (run.state, run.file_bytes) == (OK, len(CONTENT))
    assert run.wire_bytes is not None
    assert run.wire_packets is not None
    assert len(CONTENT) + 20 * run.wire_packets < run.wire_bytes < 2 * len(CONTENT)
    assert run.first_byte_s is not None
    assert run.first_byte_s > 0.008  # two round trips
    assert (run.ring_drops, run.cpu_receiver_s is not None) == (0, True)


@pytest.mark.netns
def test_a_run_that_takes_too_long_says_so(arena: Arena) -> None:
    slow = link(0.0, 400.0)
    with Arena(CONTENT, max_time_s=1.2) as short:
        run = short.run(order("udp-w1-b1428", slow)).run
    assert run.state in (MAX_TIME, VOID)
    if run.state == MAX_TIME:
        assert re.fullmatch(r"stopped after \d[.\d]* s", run.reason or "")


@pytest.mark.netns
def test_a_run_that_the_link_does_not_vouch_for_is_made_again_and_then_void(
    arena: Arena, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = []

    def failures(_checks: LabChecks) -> list[str]:
        tries.append(1)
        return ["late"] if len(tries) < failing else []

    monkeypatch.setattr(LabChecks, "failures", failures)
    failing = 3
    run = arena.run(order("tcp-reno")).run
    assert (run.state, run.attempts) == (OK, 3)
    tries.clear()
    failing = 99
    run = arena.run(order("tcp-reno")).run
    assert (run.state, run.reason, run.attempts, run.goodput_bit_s) == (VOID, "late", 3, None)


@pytest.mark.parametrize("contender_id", ["unix", "loopback-tcp", "loopback-udp-w64-b1428"])
def test_ceilings_need_no_namespaces(contender_id: str) -> None:
    ceiling = contender(contender_id)
    if ceiling.congestion is not None:
        ceiling = replace(ceiling, congestion="reno")
    with Arena(CONTENT, max_time_s=10, needs_link=False) as found:
        assert (found.carrier, found.scheduler) == (None, None)
        run = found.run(Order(ceiling, local_link(), 0, "7")).run
    assert (run.state, run.wire_bytes) == (OK, None)


def test_without_a_lab_there_is_no_link() -> None:
    with Arena(CONTENT, max_time_s=10, needs_link=False) as found, pytest.raises(LocalError, match="no link"):
        found.run(order("tcp-reno"))


def test_a_sender_that_cannot_begin_says_why_and_leaves_no_descriptor() -> None:
    warp = replace(contender("loopback-tcp"), congestion="warp")
    with Arena(CONTENT, max_time_s=10, needs_link=False) as found:
        before = sorted(os.listdir("/proc/self/fd"))
        with pytest.raises(LocalError, match="'warp' cannot be used here"):
            found.run(Order(warp, local_link(), 0, "7"))
        assert sorted(os.listdir("/proc/self/fd")) == before


def test_an_arena_that_cannot_begin_leaves_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(**_options: Any) -> SimpleNamespace:
        raise LocalError("no lab today")

    monkeypatch.setattr(arenas, "Lab", refuse)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(LocalError, match="no lab today"):
        Arena(CONTENT, max_time_s=10)
    assert not list(tmp_path.iterdir())
