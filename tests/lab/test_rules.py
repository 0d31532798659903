from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blockstep.protocol.wire import Opcode, OptionAck, Request, ack_bytes
from blockstep_lab.conditions import Conditions
from blockstep_lab.hop import Hop
from blockstep_lab.impairment import Counters
from blockstep_lab.rules import FlowRules, Rule, RuleBook, apply_rules
from blockstep_lab.words import WordsError

RRQ = Request(Opcode.RRQ, "kernel", "octet").to_bytes()


def data(block: int, payload: bytes = b"abcdefgh") -> bytes:
    return b"\0\3" + (block & 0xFFFF).to_bytes(2, "big") + payload


def ack(block: int) -> bytes:
    return ack_bytes(block & 0xFFFF)


def flow(*rules: str) -> FlowRules:
    return RuleBook(rules).start_flow()


def acted(rules: FlowRules, direction: str, packet: bytes) -> bool:
    return bool(rules.actions_for(direction, packet))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("drop DATA 3", "drop DATA 3"),
        ("DROP data 3 Once", "drop DATA 3 once"),
        ("drop ACK 10-12 once", "drop ACK 10-12 once"),
        ("duplicate ACK 5", "duplicate ACK 5"),
        ("delay ERROR 2s", "delay ERROR 2s"),
        ("delay DATA 3 200ms 2 times", "delay DATA 3 200ms 2 times"),
        ("drop OACK first", "drop OACK first"),
        ("down corrupt DATA 7,9-11,100- first 4", "down corrupt DATA 7,9-11,100- first 4"),
        ("up drop any 3 times", "up drop ANY 3 times"),
        ("drop DATA 3 times", "drop DATA 3 times"),
        ("drop RRQ 1 time", "drop RRQ once"),
        ("drop DATA 5-5", "drop DATA 5"),
    ],
)
def test_rules_are_read_and_printed_in_one_spelling(text: str, expected: str) -> None:
    rule = Rule.parse(text)
    assert str(rule) == expected
    assert Rule.parse(str(rule)) == rule


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "action is missing"),
        ("drpo DATA 3", "unknown action 'drpo'; did you mean 'drop'?"),
        ("drop DTA 3", "unknown packet 'dta'; did you mean 'data'?"),
        ("drop", "drop: packet is missing"),
        ("drop DATA 12-10", "the range runs backwards; did you mean '10-12'?"),
        ("drop ERROR 3", "only DATA and ACK have block numbers"),
        ("drop DATA 3 onec", "unknown word 'onec'; did you mean 'once'?"),
        ("drop DATA 3 4", "did you mean 'times' after it?"),
        ("delay DATA 3", "the delay is missing"),
        ("delay DATA 3 20", "did you mean '20ms'?"),
        ("drop DATA 3 2s", "a whole number"),
        ("drop DATA 0 times", "the number of times goes from 1"),
        ("sideways drop DATA", "unknown action 'sideways'"),
    ],
)
def test_a_bad_rule_says_what_is_wrong(text: str, message: str) -> None:
    with pytest.raises(WordsError) as caught:
        Rule.parse(text)
    assert message in str(caught.value)


@given(
    st.lists(
        st.sampled_from(
            [
                "up",
                "down",
                "drop",
                "delay",
                "DATA",
                "ACK",
                "ERROR",
                "3",
                "10-12",
                "3,4-",
                "2s",
                "once",
                "times",
                "first",
                "-",
            ]
        )
        | st.text(),
        max_size=8,
    )
)
def test_any_words_are_a_rule_or_a_clear_error(words: list[str]) -> None:
    try:
        rule = Rule.parse(words)
    except WordsError:
        return
    assert Rule.parse(str(rule)) == rule


def test_a_rule_without_a_limit_meets_every_resend() -> None:
    rules = flow("drop DATA 3")
    assert [acted(rules, "down", data(block)) for block in (1, 2, 3, 3, 4, 3)] == [
        False,
        False,
        True,
        True,
        False,
        True,
    ]


def test_once_counts_each_block_by_itself() -> None:
    rules = flow("drop ACK 10-12 once")
    assert [acted(rules, "up", ack(block)) for block in (9, 10, 10, 11, 12, 11, 13)] == [
        *(False, True, False, True, True, False, False),
    ]


def test_first_counts_all_matching_packets() -> None:
    rules = flow("drop DATA 2- first 2")
    assert [acted(rules, "down", data(block)) for block in (1, 2, 3, 4)] == [False, True, True, False]


def test_a_direction_limits_a_rule() -> None:
    rules = flow("up drop DATA")
    assert acted(rules, "up", data(1))
    assert not acted(rules, "down", data(1))


def test_block_numbers_count_past_the_wrap() -> None:
    rules = flow("drop DATA 65537 once")
    seen = [index for index in range(1, 140_000) if acted(rules, "down", data(index))]
    assert seen == [65537]


def test_block_numbers_count_past_a_wrap_that_leaves_out_zero() -> None:
    rules = flow("drop DATA 65536 once")
    rules.actions_for("down", OptionAck((("rollover", "1"),)).to_bytes())
    seen = [index for index in range(1, 131_000) if acted(rules, "down", data((index - 1) % 65535 + 1))]
    assert seen == [65536]


def test_a_resend_across_the_wrap_is_the_old_block() -> None:
    rules = flow("drop DATA 65530 2 times")
    for index in range(1, 65_540):
        rules.actions_for("down", data(index))
    assert acted(rules, "down", data(65530))
    assert not acted(rules, "down", data(65530))


def test_acks_and_data_share_one_count() -> None:
    rules = flow("drop ACK 70000")
    seen = []
    for index in range(1, 70_001):
        rules.actions_for("down", data(index))
        if acted(rules, "up", ack(index)):
            seen.append(index)
    assert seen == [70_000]


def test_a_repeated_request_is_the_same_transfer_and_a_later_one_is_new() -> None:
    rules = flow("drop OACK first")
    oack = OptionAck((("blksize", "1428"),)).to_bytes()
    rules.actions_for("up", RRQ)
    assert acted(rules, "down", oack)
    rules.actions_for("up", RRQ)
    assert not acted(rules, "down", oack)
    rules.actions_for("up", ack(0))
    rules.actions_for("up", RRQ)
    assert acted(rules, "down", oack)


def test_every_transfer_has_its_own_count_and_the_book_adds_them_up() -> None:
    book = RuleBook(["drop DATA 1 once", "drop ERROR"])
    for transfer in (book.start_flow(), book.start_flow()):
        assert acted(transfer, "down", data(1))
    assert book.report() == [("drop DATA 1 once", 2), ("drop ERROR", 0)]


def test_what_a_rule_remembers_is_bounded() -> None:
    rules = flow("drop DATA once")
    for index in range(1, 200_000):
        assert acted(rules, "down", data(index))
    assert len(rules._acted) <= 65_536


@given(st.binary(max_size=40), st.sampled_from(["up", "down"]))
def test_any_datagram_is_judged(packet: bytes, direction: str) -> None:
    rules = flow("drop ANY", "corrupt DATA 0-", "delay OACK 1s")
    assert acted(rules, direction, packet)


def test_rules_act_in_their_order_and_keep_the_counters_true() -> None:
    counters = Counters(packets=1, delivered=1)
    rules = [Rule.parse(text) for text in ("duplicate ANY", "delay ANY 2s", "corrupt ANY")]
    first, second = apply_rules(rules, [(1.0, data(1))], counters)
    assert first == second
    assert first[0] == 3.0
    assert first[1][:4] == data(1)[:4]
    assert (int.from_bytes(first[1], "big") ^ int.from_bytes(data(1), "big")).bit_count() == 1
    assert counters == Counters(packets=1, delivered=2, duplicated=1, corrupted=2)


@pytest.mark.parametrize("packet", [b"", b"\0", b"\0\4", b"\0\4\0\1", b"\0\3\0\1x"])
def test_corruption_changes_one_bit_of_any_packet(packet: bytes) -> None:
    [(_, damaged)] = apply_rules([Rule.parse("corrupt ANY")], [(0.0, packet)], Counters())
    difference = int.from_bytes(damaged, "big") ^ int.from_bytes(packet, "big")
    assert difference.bit_count() == (1 if packet else 0)


def test_rules_stand_above_the_link_and_shift_no_other_fate() -> None:
    conditions = Conditions.parse("loss 30%")
    plain, ruled = Hop(conditions, 7, "down"), Hop(conditions, 7, "down")
    transfer = RuleBook(["drop DATA 2", "duplicate DATA 5"]).start_flow()
    expected = [len(plain.admit(data(block), 0.0)) for block in range(1, 50)]
    got = [len(ruled.admit(data(block), 0.0, transfer)) for block in range(1, 50)]
    expected[1] = 0
    expected[4] *= 2
    assert got == expected
    assert ruled.counters.delivered == sum(got)
