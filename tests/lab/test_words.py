from __future__ import annotations

from decimal import Decimal

import pytest

from blockstep_lab.words import Words, WordsError, did_you_mean, format_decimal, format_time


@pytest.mark.parametrize(
    ("text", "time_ns"),
    [
        ("20ms", 20_000_000),
        ("1.5s", 1_500_000_000),
        ("0", 0),
        ("100us", 100_000),
        ("7ns", 7),
        (".5ms", 500_000),
        ("2SECS", 2_000_000_000),
    ],
)
def test_times_are_integer_nanoseconds(text: str, time_ns: int) -> None:
    assert Words(text).time_ns("the delay") == time_ns


@pytest.mark.parametrize(
    ("text", "bits_per_s"),
    [("10mbit", 10_000_000), ("9600", 9600), ("1.5kbit", 1500), ("800kbps", 6_400_000), ("1mibit", 1_048_576)],
)
def test_rates_have_the_units_of_tc(text: str, bits_per_s: int) -> None:
    assert Words(text).rate("the rate") == bits_per_s


@pytest.mark.parametrize(
    ("time_ns", "text"),
    [
        (0, "0us"),
        (1, "0.001us"),
        (1_500, "1.5us"),
        (2_000_000, "2ms"),
        (3_000_000_000, "3s"),
        (1_500_000_000, "1500ms"),
    ],
)
def test_times_are_printed_exactly_and_shortest(time_ns: int, text: str) -> None:
    assert format_time(time_ns) == text
    assert Words(text).time_ns("the delay") == time_ns


def test_decimals_have_no_exponent_and_no_trailing_zeros() -> None:
    assert [format_decimal(value) for value in (5.0, 0.1, 1e-9, 0.0, -0.0, 100.0)] == [
        "5",
        "0.1",
        "0.000000001",
        "0",
        "0",
        "100",
    ]
    assert format_decimal(Decimal("1.50")) == "1.5"


@pytest.mark.parametrize("text", ["\u0665", "1_0", "1e3", "0x10", "\uff15", "1" * 5000, "nan", "inf", "--5", "+"])
def test_only_bounded_ascii_decimals_are_numbers(text: str) -> None:
    with pytest.raises(WordsError):
        Words(text).percent("the loss")


def test_an_error_quotes_no_more_than_a_line() -> None:
    with pytest.raises(WordsError) as caught:
        Words("x" * 10_000).percent("the loss")
    assert len(str(caught.value)) < 250


def test_the_nearest_word_is_found_by_spelling_and_by_beginning() -> None:
    assert did_you_mean("dealy", ["delay", "loss"]) == "; did you mean 'delay'?"
    assert did_you_mean("DUP", ["delay", "duplicate"]) == "; did you mean 'duplicate'?"
    assert did_you_mean("zzz", ["delay", "loss"]) == ""


def test_an_integer_names_the_nearest_bound() -> None:
    with pytest.raises(WordsError, match="the limit goes from 1 to 9; the nearest is 9"):
        Words("10").integer("the limit", 1, 9)
    with pytest.raises(WordsError, match="whole number"):
        Words("1.5").integer("the limit", 1, 9)
