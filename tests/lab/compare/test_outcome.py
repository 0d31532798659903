from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from blockstep_lab.compare.grid import Order
from blockstep_lab.compare.outcome import judged, void_run
from blockstep_lab.compare.receiving import Received
from blockstep_lab.compare.results import FAILED, MAX_TIME, OK, VOID
from blockstep_lab.compare.sending import Sent
from blockstep_lab.impairment import Counters
from blockstep_lab.netns.checks import DirectionChecks, LabChecks
from support.compared import contender, link

ORDER = Order(contender("udp-w16-b1428"), link(1.0), 2, "7/x/2")
RECEIVED = Received(
    started_at=1000.0,
    total_s=2.0,
    first_byte_s=0.1,
    longest_stall_s=0.3,
    file_bytes=1_000_000,
    cpu_s=0.05,
    wire_bytes=4_000,
    wire_packets=100,
    sha256="ab",
    failure=None,
    over_time=False,
    points=((0.1, 1428), (2.0, 1_000_000)),
)
SENT = Sent(
    resends=9,
    timeouts=1,
    cpu_s=0.04,
    wire_bytes=1_100_000,
    wire_packets=800,
    failure=None,
    resend_points=((1000.5, 14280),),
)


def checks() -> LabChecks:
    up = DirectionChecks("loss 1%", Counters(packets=100, lost=1), 0.0001, 0.0004, 0.001)
    down = DirectionChecks("loss 1%", Counters(packets=800, lost=10), 0.0001, 0.0003, 0.001)
    return LabChecks("7", "tun", "SCHED_FIFO 50", "Linux", up, down, {}, [])


def test_a_good_run_has_what_both_sides_and_the_link_say() -> None:
    found = judged(ORDER, SENT, RECEIVED, sha256="ab", checks=checks())
    run = found.run
    assert (run.contender, run.link, run.repeat, run.seed) == ("udp-w16-b1428", ORDER.link.id, 2, "7/x/2")
    assert (run.state, run.reason, run.attempts) == (OK, None, 1)
    assert run.goodput_bit_s == 4e6
    assert (run.wire_bytes, run.wire_packets) == (1_104_000, 900)
    assert (run.resends, run.timeouts, run.cpu_sender_s, run.cpu_receiver_s) == (9, 1, 0.04, 0.05)
    assert (run.measured_loss, run.late_p99_s, run.ring_drops) == (10 / 800, 0.0004, 0)
    assert found.sequence is not None
    assert found.sequence.points == RECEIVED.points
    assert found.sequence.resends == ((0.5, 14280),)
    assert found.sequence.resends_total == 9


def test_of_a_sender_that_is_not_ours_nothing_is_known() -> None:
    run = judged(ORDER, None, RECEIVED, sha256="ab").run
    assert run.state == OK
    assert (run.resends, run.timeouts, run.cpu_sender_s, run.wire_bytes, run.measured_loss) == (None,) * 5


@pytest.mark.parametrize(
    ("changes", "state", "reason"),
    [
        ({"sha256": "cd"}, FAILED, "the file arrived with other bytes"),
        ({"failure": "no answer", "sha256": None}, FAILED, "no answer"),
        ({"failure": "too long", "over_time": True, "sha256": None}, MAX_TIME, "stopped after 2 s"),
    ],
)
def test_what_went_wrong_is_the_runs_state(changes: dict[str, Any], state: str, reason: str) -> None:
    found = judged(ORDER, SENT, replace(RECEIVED, **changes), sha256="ab", checks=checks())
    assert (found.run.state, found.run.reason) == (state, reason)
    assert (found.run.goodput_bit_s is None) == (state == FAILED)
    assert (found.sequence is None) == (state == FAILED)


def test_a_digest_that_nobody_knows_is_held_against_nothing() -> None:
    assert judged(ORDER, None, RECEIVED, sha256=None).run.state == OK


def test_a_void_run_has_its_reason_and_the_checks_and_no_number_of_the_transfer() -> None:
    found = void_run(ORDER, "packets were late", checks())
    run = found.run
    assert (run.state, run.reason) == (VOID, "packets were late")
    assert (run.late_p99_s, run.ring_drops) == (0.0004, 0)
    assert found.sequence is None
    numbers = (run.goodput_bit_s, run.total_s, run.first_byte_s, run.wire_bytes, run.resends, run.cpu_sender_s)
    assert numbers == (None,) * 6
