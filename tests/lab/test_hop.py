from __future__ import annotations

from blockstep.protocol.wire import ack_bytes
from blockstep_lab.conditions import Conditions
from blockstep_lab.hop import Hop
from blockstep_lab.impairment import Impairment
from blockstep_lab.rules import RuleBook

LOSSY = Conditions.parse("loss 30% delay 10ms")


def test_without_rules_a_hop_is_its_link() -> None:
    hop, link = Hop(LOSSY, 7, "up"), Impairment(LOSSY, 7, "up")
    assert [hop.admit(ack_bytes(n), n) for n in range(100)] == [link.admit(ack_bytes(n), n) for n in range(100)]
    assert hop.counters == link.counters


def test_rules_act_on_what_the_link_lets_through_and_shift_no_fate() -> None:
    hop, link = Hop(LOSSY, 7, "up"), Impairment(LOSSY, 7, "up")
    flow = RuleBook(["up drop ACK 10-19", "down drop ACK"]).start_flow()
    for number in range(100):
        packet = ack_bytes(number)
        untouched = link.admit(packet, number)
        assert hop.admit(packet, number, flow) == ([] if 10 <= number <= 19 else untouched)
    assert hop.counters.lost > link.counters.lost
    assert hop.counters.delivered == hop.counters.packets - hop.counters.lost


def test_the_other_direction_has_other_rules() -> None:
    flow = RuleBook(["up drop ACK"]).start_flow()
    assert Hop(Conditions(), 7, "down").admit(ack_bytes(1), 0.0, flow) == [(0.0, ack_bytes(1))]
