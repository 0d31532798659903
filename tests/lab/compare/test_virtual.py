from __future__ import annotations

from dataclasses import replace

import pytest

from blockstep_lab.compare.grid import Order
from blockstep_lab.compare.results import FAILED, OK
from blockstep_lab.compare.theory import Situation, window_rate
from blockstep_lab.compare.virtual import simulate
from blockstep_lab.simulation import content_of
from support.compared import contender, link

CONTENT = content_of(100_000)


def order(window: int = 16, loss: float = 0.0, seed: str = "7") -> Order:
    return Order(replace(contender(f"udp-w{window}-b1428"), simulated=True), link(loss, 25.0), 0, seed)


def test_a_run_is_told_as_every_other() -> None:
    found = simulate(order(), CONTENT)
    run = found.run
    assert (run.state, run.reason, run.file_bytes, run.resends, run.timeouts) == (OK, None, 100_000, 0, 0)
    assert run.first_byte_s == pytest.approx(0.1, abs=0.001)  # request, OACK, ACK, DATA
    assert run.longest_stall_s == pytest.approx(0.05, abs=0.001)
    assert run.total_s is not None
    assert run.goodput_bit_s == pytest.approx(800_000 / run.total_s)
    assert run.cpu_sender_s is None
    assert run.wire_bytes is not None
    assert 100_000 + 71 * 32 < run.wire_bytes < 100_000 + 71 * 32 + 1500
    assert found.sequence is not None
    assert found.sequence.points[-1][1] == 100_000
    assert found.sequence.resends == ()


def test_the_same_order_is_the_same_run() -> None:
    assert simulate(order(loss=3.0), CONTENT) == simulate(order(loss=3.0), CONTENT)
    assert simulate(order(loss=3.0), CONTENT) != simulate(order(loss=3.0, seed="8"), CONTENT)


def test_what_went_out_again_is_marked_where_it_was() -> None:
    found = simulate(order(loss=3.0), CONTENT)
    assert found.run.resends
    assert found.sequence is not None
    assert len(found.sequence.resends) == found.sequence.resends_total == found.run.resends
    assert all(0 <= offset < 100_000 and at_s > 0 for at_s, offset in found.sequence.resends)
    assert found.run.measured_loss is not None
    assert 0 < found.run.measured_loss < 0.1


def test_lock_step_is_the_law() -> None:
    run = simulate(order(window=1), CONTENT).run
    law = window_rate(Situation(rtt_s=0.05, blksize=1428, rate_bit_s=50e6))
    assert run.goodput_bit_s == pytest.approx(law, rel=0.04)


def test_numbers_that_wrap_are_no_resends() -> None:
    short = replace(contender("udp-w64-b1428"), blksize=8, simulated=True)
    run = simulate(Order(short, link(0.0, 1.0), 0, "7"), content_of(8 * 66_000)).run
    assert (run.state, run.resends) == (OK, 0)


def test_a_link_that_lets_nothing_through_is_a_failure() -> None:
    dead = replace(link(), up="loss 100%", down="")
    found = simulate(Order(order().contender, dead, 0, "7"), CONTENT)
    assert found.run.state == FAILED
    assert "no answer" in (found.run.reason or "")
    assert found.run.goodput_bit_s is None
    assert found.sequence is None
