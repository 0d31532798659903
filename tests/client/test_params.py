from __future__ import annotations

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blockstep_client.params import BlksizeType, NumberType, SecondsType, TargetType

NOT_NUMBERS = ["", " 8", "8 ", "+8", "-8", "5_12", "1e3", "0x10", "١٢", "\uff18", "9" * 4300, "\x1b[2J", "nan", "inf"]


@pytest.mark.parametrize(
    ("text", "value"), [("8", 8), ("0512", 512), ("65464", 65464), ("1048576", 1048576), ("auto", "auto")]
)
def test_a_blksize(text: str, value: object) -> None:
    assert BlksizeType().convert(text, None, None) == value


@pytest.mark.parametrize(("text", "value"), [("1", 1.0), ("0.25", 0.25), (".5", 0.5), ("255", 255.0)])
def test_seconds(text: str, value: float) -> None:
    assert SecondsType(0.01, 255).convert(text, None, None) == value


@pytest.mark.parametrize("text", [*NOT_NUMBERS, "7", "1048577"])
def test_no_blksize(text: str) -> None:
    with pytest.raises(click.BadParameter, match="whole number from 8 to 1048576"):
        BlksizeType().convert(text, None, None)


@pytest.mark.parametrize("text", [*NOT_NUMBERS, "0", "256", "1.", "1,5"])
def test_no_seconds(text: str) -> None:
    with pytest.raises(click.BadParameter, match=r"from 0\.01 to 255 seconds"):
        SecondsType(0.01, 255).convert(text, None, None)


@given(st.text(alphabet=st.characters(), max_size=30) | st.integers().map(str) | st.floats().map(str))
def test_any_text_is_a_value_in_range_or_a_printable_usage_error(text: str) -> None:
    for type_ in (NumberType(1, 65535), SecondsType(0.01, 255), BlksizeType(), TargetType()):
        try:
            type_.convert(text, None, None)
        except click.UsageError as error:
            sentence = error.message
        else:
            sentence = ""
        assert sentence.isprintable()


def test_defaults_pass_through() -> None:
    assert BlksizeType().convert(1428, None, None) == 1428
    target = TargetType().convert("h:a", None, None)
    assert TargetType().convert(target, None, None) is target
