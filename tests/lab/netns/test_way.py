from __future__ import annotations

from blockstep.protocol.wire import Opcode, Request
from blockstep_lab.conditions import Conditions
from blockstep_lab.impairment import Impairment
from blockstep_lab.netns.packets import UDP, mended
from blockstep_lab.netns.way import _MOST_FLOWS, Flows, Way
from blockstep_lab.rules import RuleBook
from support.ip_packets import ipv4, udp

REQUEST = Request(Opcode.RRQ, "file", "octet").to_bytes()


def data(block: int, payload: bytes = b"payload") -> bytes:
    return b"\0\3" + block.to_bytes(2, "big") + payload


def packet(payload: bytes) -> bytes:
    return mended(ipv4(UDP, udp(payload)))


def way(words: str = "", direction: str = "up", *, rules: tuple[str, ...] = (), mend: bool = False) -> Way:
    return Way(Conditions.parse(words), "7", direction, flows=Flows(RuleBook(rules)), mend=mend)


def test_the_fate_of_a_packet_is_that_of_its_payload_in_every_carrier() -> None:
    words = "loss gemodel 2% 20% duplicate 2% corrupt 5%"
    through, alone = way(words, mend=True), Impairment(Conditions.parse(words), "7", "up")
    for number in range(5000):
        payload = number.to_bytes(4, "big") * 8
        arrived = [copy[28:] for _, copy in through.admit(packet(payload), float(number))]
        assert arrived == [copy for _, copy in alone.admit(payload, float(number))], f"seed 7, packet {number}"
    assert through.counters == alone.counters


def test_the_rate_counts_whole_packets() -> None:
    sent = packet(bytes(972))
    assert len(sent) == 1000
    ((at, _),) = way("rate 8mbit").admit(sent, 0.0)
    assert at == 0.001


def test_damage_shows_in_the_checksum_unless_it_is_mended() -> None:
    sent = packet(bytes(100))
    ((_, broken),) = way("corrupt 100%").admit(sent, 0.0)
    ((_, whole),) = way("corrupt 100%", mend=True).admit(sent, 0.0)
    assert broken[28:] == whole[28:] != sent[28:]
    assert broken[:28] == sent[:28]
    assert mended(broken) == whole != broken


def test_rules_see_what_is_inside() -> None:
    down = way(direction="down", rules=("drop DATA 2 once",))
    assert [len(down.admit(packet(data(block)), 0.0)) for block in (1, 2, 2, 3)] == [1, 0, 1, 1]
    assert down.flows.book.hits == [1]
    assert down.counters.lost == 1


def test_each_port_of_the_left_has_rules_of_its_own() -> None:
    down = way(direction="down", rules=("drop DATA 1 first",))
    for port in (1000, 1001):
        sent = mended(ipv4(UDP, udp(data(1), destination=port)))
        assert [len(down.admit(sent, 0.0)) for _ in range(2)] == [0, 1]


def test_both_directions_of_a_flow_are_one_flow() -> None:
    flows = Flows(RuleBook(("down drop DATA 1 once",)))
    up = Way(Conditions(), "7", "up", flows=flows, mend=False)
    down = Way(Conditions(), "7", "down", flows=flows, mend=False)
    ask = mended(ipv4(UDP, udp(REQUEST, source=5000, destination=69)))
    answer = mended(ipv4(UDP, udp(data(1), source=69, destination=5000), to_left=True))
    confirm = mended(ipv4(UDP, udp(b"\0\4\0\1", source=5000, destination=69)))
    up.admit(ask, 0.0)
    assert [len(down.admit(answer, 0.0)) for _ in range(2)] == [0, 1]
    up.admit(confirm, 0.0)
    up.admit(ask, 0.0)  # the next transfer from this port starts afresh
    assert [len(down.admit(answer, 0.0)) for _ in range(2)] == [0, 1]


def test_a_corrupting_rule_hits_the_payload() -> None:
    sent = packet(data(7))
    ((_, copy),) = way(direction="down", rules=("corrupt DATA 7",), mend=True).admit(sent, 0.0)
    assert copy[28:32] == sent[28:32]
    assert copy[32:] != sent[32:]
    assert copy == mended(copy)


def test_flows_are_forgotten_before_they_fill_the_memory() -> None:
    flows = Flows(RuleBook(("drop ANY first",)))
    first = flows.of(bytes(6))
    for number in range(_MOST_FLOWS):
        flows.of((number + 1).to_bytes(6, "big"))
    assert flows.of(bytes(6)) is not first
