from __future__ import annotations

import multiprocessing
from dataclasses import replace

import pytest

from blockstep_lab.compare import running
from blockstep_lab.compare.grid import Grid, Order
from blockstep_lab.compare.outcome import Observed
from blockstep_lab.compare.running import measure_all, simulate_all
from blockstep_lab.compare.simulated import with_simulated
from blockstep_lab.compare.virtual import simulate
from blockstep_lab.simulation import content_of
from support.compared import grid, link, observed

CONTENT = content_of(20_000)


def simulated_grid() -> Grid:
    return with_simulated(grid(["udp-w1-b1428", "udp-w16-b1428"], [link(1.0)]), "all", len(CONTENT), 20.0)


class FakePlace:
    def run(self, order: Order) -> Observed:
        return observed(order, 1e6)


def test_measured_runs_come_one_after_another() -> None:
    orders = list(grid(["udp-w1-b1428", "tcp-cubic"], [link()]).orders())
    told: list[tuple[str, Order]] = []
    measure_all(
        orders,
        FakePlace(),
        begin=lambda order: told.append(("begin", order)),
        done=lambda order, _: told.append(("done", order)),
    )
    assert told == [(what, order) for order in orders for what in ("begin", "done")]


@pytest.mark.parametrize("jobs", [1, 2, None])
def test_simulated_runs_are_the_same_in_however_many_processes(jobs: int | None) -> None:
    orders = list(simulated_grid().orders())
    found: dict[Order, Observed] = {}
    simulate_all(orders, CONTENT, found.__setitem__, jobs=jobs)
    assert found == {order: simulate(order, CONTENT) for order in orders}


def test_nothing_to_simulate_is_nothing() -> None:
    simulate_all([], CONTENT, lambda _order, _observed: pytest.fail("nothing was asked for"))


def test_an_interruption_ends_the_processes_and_keeps_what_is_done() -> None:
    orders = list(replace(simulated_grid(), repeats=20).orders())
    done: list[Order] = []

    def stop_after_three(order: Order, _observed: Observed) -> None:
        done.append(order)
        if len(done) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        simulate_all(orders, CONTENT, stop_after_three, jobs=2)
    assert len(done) == 3
    assert not multiprocessing.active_children()


def test_what_goes_wrong_in_a_process_is_raised_here(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_order: Order, _content: bytes) -> Observed:
        raise ZeroDivisionError("in a worker")

    monkeypatch.setattr(running, "simulate", fail)  # workers are forked, so they have it too
    with pytest.raises(ZeroDivisionError, match="in a worker"):
        simulate_all(list(simulated_grid().orders()), CONTENT, lambda _order, _observed: None, jobs=2)
