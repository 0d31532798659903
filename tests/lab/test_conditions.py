from __future__ import annotations

import shutil
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blockstep.protocol.errors import LocalError
from blockstep_lab.conditions import (
    DISTRIBUTIONS,
    Chance,
    Conditions,
    Delay,
    GilbertElliott,
    MarkovLoss,
    RandomLoss,
    Rate,
    Reorder,
)
from blockstep_lab.words import WordsError

EVERYTHING = (
    "loss 5% 25% delay 20ms 5ms distribution normal rate 10mbit limit 1000 duplicate 1% "
    "reorder 25% 50% gap 5 corrupt 0.1%"
)


def test_every_word_of_netem_is_read() -> None:
    assert Conditions.parse(EVERYTHING) == Conditions(
        delay=Delay(20_000_000, 5_000_000, 0.0, "normal"),
        loss=RandomLoss(5.0, 25.0),
        duplicate=Chance(1.0),
        corrupt=Chance(0.1),
        reorder=Reorder(25.0, 50.0, 5),
        rate=Rate(10_000_000),
        limit=1000,
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("loss 5", "loss 5%"),
        ("loss random 5% 10%", "loss 5% 10%"),
        ("drop 5%", "loss 5%"),
        ("latency 1s", "delay 1s"),
        ("LOSS 5%", "loss 5%"),
        ("loss gemodel 1%", "loss gemodel 1% 99% 100% 0%"),
        ("loss gemodel 4.1% 10% 70% 0.1%", "loss gemodel 4.1% 10% 70% 0.1%"),
        ("loss state 3.3", "loss state 3.3% 96.7% 0% 100% 0%"),
        ("loss state 1 2 3 4 5", "loss state 1% 2% 3% 4% 5%"),
        ("delay 10ms gap 5", "delay 10ms reorder 100% gap 5"),
        ("distribution pareto delay 10ms 1ms 25%", "delay 10ms 1ms 25% distribution pareto"),
        ("delay 10ms 0 25%", "delay 10ms 0us 25%"),
        ("delay 10ms 1ms distribution uniform", "delay 10ms 1ms"),
        ("rate 1.5mbit -14 48 5", "rate 1500kbit -14 48 5"),
        ("rate 800kbps 0 48", "rate 6400kbit 0 48"),
        ("", ""),
    ],
)
def test_words_are_printed_in_one_spelling(text: str, expected: str) -> None:
    assert str(Conditions.parse(text)) == expected


def test_words_may_come_as_a_list_as_a_shell_splits_them() -> None:
    assert Conditions.parse(EVERYTHING.split()) == Conditions.parse(EVERYTHING)
    assert Conditions.parse(["loss 5%", "delay 1ms"]) == Conditions.parse("loss 5% delay 1ms")


def test_the_tc_line_is_a_command() -> None:
    assert Conditions.parse("loss 5%").tc_line("eth0") == "tc qdisc replace dev eth0 root netem loss 5%"
    assert Conditions().tc_line() == "tc qdisc replace dev DEV root netem"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("loss 200%", "loss 200%: the loss goes from 0% to 100%; the nearest is '100%'"),
        ("loss -1%", "loss -1%: the loss goes from 0% to 100%; the nearest is '0%'"),
        ("dealy 5ms", "unknown word 'dealy'; did you mean 'delay'?"),
        ("dup 1%", "unknown word 'dup'; did you mean 'duplicate'?"),
        ("delay 20", "delay 20: the delay has no unit; did you mean '20ms'?"),
        ("delay 5mss", "unknown unit 'mss'; did you mean '5ms'?"),
        ("delay 2s 5", "delay 2s 5: the jitter has no unit; did you mean '5ms'?"),
        ("delay 3601s", "the delay goes from 0s to 3600s"),
        ("rate 10mbt", "unknown unit 'mbt'; did you mean '10mbit'?"),
        ("rate 0", "the rate goes from 1bit"),
        ("loss", "loss: the loss is missing"),
        ("loss 5ms", "the loss is a percentage; did you mean '5%'?"),
        ("loss gemdel 5%", "unknown loss model 'gemdel'; did you mean 'gemodel'?"),
        ("loss 5% 6% 7%", "7%: a number that belongs to no word"),
        ("loss 5% delay 1ms loss 6%", "loss: loss is given twice"),
        ("loss state 50 50 51", "may not add up to more than 100%"),
        ("reorder 5%", "add a delay"),
        ("distribution normal", "needs a delay with jitter"),
        ("delay 5ms distribution normal", "needs a delay with jitter"),
        ("delay 5ms 5ms distribution norml", "unknown distribution 'norml'; did you mean 'normal'?"),
        ("slot 1ms", "slotted delivery is not modelled"),
        ("loss 5% ecn", "packets are dropped, never marked"),
        ("limit 0", "the limit goes from 1"),
    ],
)
def test_a_bad_word_is_named_with_the_nearest_right_one(text: str, message: str) -> None:
    with pytest.raises(WordsError) as caught:
        Conditions.parse(text)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "build",
    [
        lambda: Chance(101),
        lambda: RandomLoss(5, -1),
        lambda: GilbertElliott(1, 2, 3, 400),
        lambda: MarkovLoss(60, 50, p14=50),
        lambda: Delay(-1),
        lambda: Delay(1, 1, distribution="cauchy"),
        lambda: Rate(0),
        lambda: Conditions(limit=0),
        lambda: Conditions(reorder=Reorder(5)),
    ],
)
def test_impossible_values_can_not_be_made(build: object) -> None:
    assert callable(build)
    with pytest.raises(LocalError):
        build()


def test_a_rate_counts_headers_and_cells() -> None:
    assert Rate(1000, 20).wire_bytes(100) == 120
    assert Rate(1000, -14).wire_bytes(10) == 0
    assert Rate(1000, 0, 48, 5).wire_bytes(50) == 106  # the example of tc-netem(8)


percents = st.integers(0, 100_000).map(lambda value: value / 1000)
chances = st.builds(Chance, percents, percents)
times = st.integers(1, 3600 * 10**9)
losses = st.one_of(
    st.builds(RandomLoss, percents, percents),
    st.builds(GilbertElliott, percents, percents, percents, percents),
    st.builds(
        lambda p13, p31, p23: MarkovLoss(p13, p31, round(100 - p31, 3), p23, round(100 - p13, 3)),
        *(percents, percents, percents),
    ),
)
delays = st.builds(Delay, times, st.integers(1, 10**9), percents, st.sampled_from(DISTRIBUTIONS))
sizes = st.integers(-1000, 1000)
conditions = st.builds(
    Conditions,
    delay=delays,
    loss=st.none() | losses,
    duplicate=st.none() | chances,
    corrupt=st.none() | chances,
    reorder=st.none() | st.builds(Reorder, percents, percents, st.integers(1, 10**9)),
    rate=st.none() | st.builds(Rate, st.integers(1, 10**15), sizes, st.integers(0, 1000), sizes),
    limit=st.none() | st.integers(1, 10**9),
)


@given(conditions)
def test_what_is_printed_reads_back_as_the_same(link: Conditions) -> None:
    assert Conditions.parse(str(link)) == link


word = st.sampled_from([*EVERYTHING.split(), "state", "gemodel", "uniform", "", "%", "-", "9" * 40, "1e9", "\x00", "é"])


@given(st.lists(word | st.text(max_size=8), max_size=12))
def test_any_words_are_conditions_or_a_clear_error(words: list[str]) -> None:
    parsed = _parsed_or_error(words)
    if isinstance(parsed, Conditions):
        assert Conditions.parse(str(parsed)) == parsed
    else:
        assert 0 < len(parsed) < 400


def _parsed_or_error(words: list[str]) -> Conditions | str:
    try:
        return Conditions.parse(words)
    except WordsError as error:
        return str(error)


@pytest.mark.skipif(shutil.which("tc") is None, reason="tc is not installed")
@pytest.mark.parametrize(
    "text",
    [
        EVERYTHING,
        "loss gemodel 1% 10% 70% 0.1%",
        "loss state 1% 2% 3% 4% 5%",
        "delay 1500ns 1us 25%",
        "rate 1mbit 0 48 5",
    ],
)
def test_tc_itself_reads_our_line(text: str) -> None:
    # tc reads all words before it looks for the device, so a device that can not exist leaves the system untouched.
    line = Conditions.parse(text).tc_line("no/such-device")
    done = subprocess.run(line.split(), capture_output=True, text=True, timeout=10, check=False)
    assert "no/such-device" in done.stderr, done.stderr
    assert "Illegal" not in done.stderr
