from __future__ import annotations

import contextlib
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blockstep.protocol.errors import LocalError
from blockstep_lab.compare.decoding import decode_untrusted


@dataclass(frozen=True)
class Inner:
    number: float
    text: str | None


@dataclass(frozen=True)
class Outer:
    inner: Inner
    pairs: tuple[tuple[float, int], ...]
    laws: dict[str, float]
    done: bool


GOOD = {"inner": {"number": 1, "text": None}, "pairs": [[0.5, 3]], "laws": {"a": 2}, "done": True}


def test_a_record_comes_back_with_the_types_that_it_had() -> None:
    assert decode_untrusted(Outer, GOOD) == Outer(Inner(1.0, None), ((0.5, 3),), {"a": 2.0}, True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"inner": []}, r"Outer\.inner should be an object"),
        ({"inner": {"number": 1}}, r"Outer\.inner: missing text"),
        ({"inner": {"number": True, "text": None}}, r"Outer\.inner\.number should be a number"),
        ({"inner": {"number": 1, "text": 5}}, r"Outer\.inner\.text should be text"),
        ({"pairs": [[1]]}, r"Outer\.pairs\[0\] should be a list of 2"),
        ({"pairs": [[1, 1.5]]}, r"Outer\.pairs\[0\]\[1\] should be a number"),
        ({"pairs": None}, r"Outer\.pairs should be a list"),
        ({"laws": [1]}, r"Outer\.laws should be an object"),
        ({"done": 1}, r"Outer\.done should be true or false"),
        ({"more": 1}, "Outer: unknown more"),
    ],
)
def test_what_does_not_fit_is_named_with_its_place(change: dict[str, object], message: str) -> None:
    with pytest.raises(LocalError, match=message):
        decode_untrusted(Outer, {**GOOD, **change})


JSON = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(JSON | st.fixed_dictionaries(dict.fromkeys(GOOD, JSON)))
def test_nothing_but_a_local_error_comes_of_anything(raw: object) -> None:
    with contextlib.suppress(LocalError):
        assert isinstance(decode_untrusted(Outer, raw), Outer)
