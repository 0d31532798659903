from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blockstep_lab.conditions import Conditions
from blockstep_lab.impairment import Delivery, Impairment, flip_bit

PACKET = bytes(range(256)) * 2


def _link(words: str, seed: int = 7, **options: int) -> Impairment:
    return Impairment(Conditions.parse(words), seed, "down", header_bytes=options.get("header_bytes", 0))


def _fates(words: str, count: int = 2000, seed: int = 7, step_s: float = 0.001) -> list[list[Delivery]]:
    link = _link(words, seed)
    return [link.admit(PACKET, index * step_s) for index in range(count)]


def _lost(words: str, **options: int) -> list[int]:
    return [index for index, fate in enumerate(_fates(words, **options)) if not fate]


def test_a_perfect_link_delivers_at_once_and_untouched() -> None:
    assert _link("").admit(PACKET, 5.0) == [(5.0, PACKET)]


def test_a_delay_is_exact() -> None:
    assert _link("delay 25ms").admit(PACKET, 5.0) == [(5.025, PACKET)]


def test_one_seed_one_fate() -> None:
    words = "loss 5% 25% duplicate 2% corrupt 3% delay 20ms 5ms distribution normal reorder 5% gap 3"
    assert _fates(words) == _fates(words)
    assert _fates(words) != _fates(words, seed=8)


def test_the_directions_have_fates_of_their_own() -> None:
    conditions = Conditions.parse("loss 50%")
    up, down = (Impairment(conditions, 7, direction) for direction in ("up", "down"))
    assert [bool(up.admit(PACKET, 0)) for _ in range(100)] != [bool(down.admit(PACKET, 0)) for _ in range(100)]


@pytest.mark.parametrize(
    "loss", ["loss 5%", "loss 5% 40%", "loss gemodel 2% 20% 80% 1%", "loss state 2% 20% 30% 40% 1%"]
)
@pytest.mark.parametrize("other", ["corrupt 10%", "delay 20ms 5ms", "delay 20ms reorder 30% gap 4", "rate 100mbit"])
def test_one_kind_of_trouble_does_not_disturb_another(loss: str, other: str) -> None:
    assert _lost(loss) == _lost(f"{loss} {other}")


@given(st.lists(st.floats(0, 10), min_size=200, max_size=200), st.integers(0, 2**32))
def test_the_fate_does_not_depend_on_the_time(gaps: list[float], seed: int) -> None:
    words = "loss 20% 30% duplicate 20% corrupt 30% delay 20ms 5ms 10% distribution pareto reorder 20% gap 3"
    steady, uneven = _link(words, seed), _link(words, seed)
    now = 0.0
    for index, gap in enumerate(gaps):
        now += gap
        expected = [(at - index, packet) for at, packet in steady.admit(PACKET, float(index))]
        got = [(at - now, packet) for at, packet in uneven.admit(PACKET, now)]
        assert [packet for _, packet in got] == [packet for _, packet in expected], f"seed {seed}, packet {index}"
        assert [at for at, _ in got] == pytest.approx([at for at, _ in expected], abs=1e-6), f"seed {seed}"


def test_tail_drops_do_not_change_the_fate_of_the_others() -> None:
    words = "loss 20% duplicate 10% corrupt 10%"
    free, narrow = _fates(words), _fates(f"{words} rate 1mbit limit 10", step_s=0.0001)
    kept = [index for index, fate in enumerate(narrow) if fate]
    assert 0 < len(kept) < 500
    for index in kept:
        assert [packet for _, packet in narrow[index]] == [packet for _, packet in free[index]]


def test_a_corrupt_packet_differs_in_one_bit_and_its_copy_in_none() -> None:
    [(_, damaged), (_, copy)] = _link("corrupt 100% duplicate 100%").admit(PACKET, 0)
    assert copy == PACKET
    difference = int.from_bytes(damaged, "big") ^ int.from_bytes(PACKET, "big")
    assert difference.bit_count() == 1


def test_corruption_spares_the_headers_of_the_carrier() -> None:
    header = b"\xff" * 28
    bare = Impairment(Conditions.parse("corrupt 50%"), 3, "up")
    whole = Impairment(Conditions.parse("corrupt 50%"), 3, "up", payload_start=lambda _packet: len(header))
    for _ in range(200):
        assert whole.admit(header + PACKET, 0)[0][1] == header + bare.admit(PACKET, 0)[0][1]


def test_lost_and_duplicated_is_delivered_once_as_in_netem() -> None:
    link = _link("loss 100% duplicate 100%")
    assert link.admit(PACKET, 0) == [(0, PACKET)]
    assert (link.counters.lost, link.counters.duplicated, link.counters.delivered) == (1, 1, 1)


def test_a_rate_spaces_packets_by_their_size_on_the_wire() -> None:
    link = _link("rate 1mbit", header_bytes=28)
    times = [link.admit(bytes(972), 2.0)[0][0] for _ in range(3)]
    assert times == pytest.approx([2.008, 2.016, 2.024])
    assert link.admit(bytes(972), 5.0)[0][0] == pytest.approx(5.008)


def test_a_full_queue_drops_at_its_tail_and_empties_with_time() -> None:
    link = _link("rate 8kbit limit 3")
    fates = [link.admit(bytes(1000), 0.0) for _ in range(5)]
    assert [bool(fate) for fate in fates] == [True, True, True, False, False]
    assert link.counters.tail_dropped == 2
    assert link.admit(bytes(1000), 1.0) == [(4.0, bytes(1000))]


def test_reordering_with_a_gap_repeats_as_the_manual_says() -> None:
    early = [
        fate[0][0] == index * 0.001 for index, fate in enumerate(_fates("delay 10ms reorder 100% gap 5", count=20))
    ]
    assert early == ([False] * 4 + [True]) * 4


def test_packets_that_overtake_are_counted() -> None:
    link = _link("delay 10ms reorder 100% gap 5")
    for index in range(20):
        link.admit(PACKET, index * 0.001)
    assert link.counters.reordered == 4


@given(st.integers(0, 2**32))
def test_the_counters_add_up(seed: int) -> None:
    link = _link("loss 20% duplicate 20% corrupt 20% rate 1mbit limit 20", seed)
    delivered = sum(len(link.admit(PACKET, index * 0.003)) for index in range(300))
    counters = link.counters
    assert counters.packets == 300
    assert counters.delivered == delivered
    assert delivered == 300 - counters.tail_dropped - counters.lost + counters.duplicated, f"seed {seed}"


def test_conditions_change_from_the_next_packet_on() -> None:
    link = _link("loss 100%")
    assert link.admit(PACKET, 0) == []
    link.change(Conditions.parse("delay 1s"))
    assert link.admit(PACKET, 0) == [(1.0, PACKET)]
    assert link.counters.packets == 2


def test_a_change_that_changes_nothing_changes_no_fate() -> None:
    conditions = Conditions.parse("loss 30%")
    steady, changed = Impairment(conditions, 7, "up"), Impairment(conditions, 7, "up")
    for index in range(200):
        if index % 10 == 0:
            changed.change(conditions)
        assert bool(steady.admit(PACKET, 0)) == bool(changed.admit(PACKET, 0))


@given(st.binary(max_size=20), st.integers(0, 300))
def test_flipping_a_bit_twice_gives_the_packet_back(packet: bytes, bit: int) -> None:
    assert flip_bit(flip_bit(packet, bit), bit) == packet
    assert (flip_bit(packet, bit) != packet) == (bit < len(packet) * 8)
