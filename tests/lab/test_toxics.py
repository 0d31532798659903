from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blockstep_lab.conditions import Conditions
from blockstep_lab.rules import Rule
from blockstep_lab.toxics import Toxic, ToxicError, Toxics


def toxic(kind: str, stream: str = "downstream", name: str = "", **attributes: Any) -> Toxic:
    return Toxic.from_json_untrusted({"type": kind, "stream": stream, "name": name, "attributes": attributes})


def toxics(up: str = "", down: str = "") -> Toxics:
    return Toxics(Conditions.parse(up), Conditions.parse(down), ())


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (toxic("latency", latency=1000, jitter=500), "delay 1s 500ms"),
        (toxic("latency", latency=1.5), "delay 1500us"),
        (toxic("bandwidth", rate=100), "rate 800kbit"),
        (toxic("timeout", timeout=0), "loss 100%"),
        (toxic("netem", words="loss 5% 25% duplicate 1%"), "loss 5% 25% duplicate 1%"),
    ],
)
def test_a_toxic_means_conditions(made: Toxic, words: str) -> None:
    assert str(made.effect) == words


def test_toxicity_of_a_timeout_is_its_loss() -> None:
    made = Toxic.from_json_untrusted({"type": "timeout", "toxicity": 0.25})
    assert str(made.effect) == "loss 25%"
    assert made.to_json() == {
        "name": "timeout_downstream",
        "type": "timeout",
        "stream": "downstream",
        "toxicity": 0.25,
        "attributes": {},
    }


def test_toxics_join_with_what_the_link_started_with() -> None:
    link = toxics(up="loss 5%", down="delay 10ms rate 1mbit")
    link.add(toxic("latency", latency=50))
    link.add(toxic("netem", words="loss 1%"))
    link.add(toxic("netem", "upstream", words="duplicate 1%"))
    link.add(toxic("rule", "upstream", rule="drop ACK 3"))
    assert str(link.conditions("up")) == "loss 5% duplicate 1%"
    assert str(link.conditions("down")) == "delay 50ms loss 1% rate 1mbit"
    assert link.rules() == [Rule.parse("up drop ACK 3")]
    link.remove("latency_downstream")
    assert str(link.conditions("down")) == "delay 10ms loss 1% rate 1mbit"
    link.reset()
    assert str(link.conditions("up")) == "loss 5%"
    assert link.rules() == []


def test_a_link_that_is_not_enabled_loses_everything() -> None:
    link = toxics(up="loss 5% duplicate 1%")
    link.enabled = False
    assert str(link.conditions("up")) == str(link.conditions("down")) == "loss 100%"


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ({}, "unknown toxic type"),
        ({"type": "latncy"}, "did you mean 'latency'?"),
        ({"type": "slicer"}, "unknown toxic type"),
        ({"type": "latency", "stream": "sideways"}, "stream must be"),
        ({"type": "latency", "toxicity": 2}, "toxicity goes from 0 to 1"),
        ({"type": "latency", "toxicity": 0.5}, "only for timeout"),
        ({"type": "latency", "toxicity": "high"}, "toxicity must be a number"),
        ({"type": "latency", "attributes": []}, "attributes must be an object"),
        ({"type": "latency", "attributes": {"latency": 1e300}}, "latency must be a number"),
        ({"type": "latency", "attributes": {"latency": float("nan")}}, "latency must be a number"),
        ({"type": "latency", "name": "a/b"}, "name must be of letters"),
        ({"type": "bandwidth"}, "the rate goes from 1bit"),
        ({"type": "netem"}, "the attribute words must be a text"),
        ({"type": "netem", "attributes": {"words": "loss 200%"}}, "the nearest is '100%'"),
        ({"type": "rule", "attributes": {"rule": "drpo ACK"}}, "did you mean 'drop'?"),
    ],
)
def test_a_bad_toxic_says_what_is_wrong(raw: dict[str, Any], message: str) -> None:
    with pytest.raises(ToxicError) as caught:
        Toxic.from_json_untrusted(raw)
    assert caught.value.status == 400
    assert message in str(caught.value)


def test_what_would_make_no_sense_together_changes_nothing() -> None:
    link = toxics(down="delay 10ms reorder 5%")
    with pytest.raises(ToxicError, match="add a delay"):
        link.add(toxic("latency", latency=0))
    assert str(link.conditions("down")) == "delay 10ms reorder 5%"


def test_names_are_unique_and_known() -> None:
    link = toxics()
    link.add(toxic("latency", name="slow", latency=5))
    with pytest.raises(ToxicError) as taken:
        link.add(toxic("latency", name="slow"))
    with pytest.raises(ToxicError) as unknown:
        link.remove("slwo")
    assert (taken.value.status, unknown.value.status) == (409, 404)
    assert "did you mean 'slow'?" in str(unknown.value)


def test_the_number_of_toxics_is_bounded() -> None:
    link = toxics()
    for number in range(100):
        link.add(toxic("latency", name=f"t{number}"))
    with pytest.raises(ToxicError, match="at most 100"):
        link.add(toxic("latency", name="last"))


json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
)
keys = st.sampled_from(["type", "name", "stream", "toxicity", "attributes", "other"])
kinds = st.sampled_from(["latency", "bandwidth", "timeout", "netem", "rule"])


@given(st.dictionaries(keys, json_values), kinds)
def test_any_json_is_a_toxic_or_a_clear_error(raw: dict[str, Any], kind: str) -> None:
    try:
        made = Toxic.from_json_untrusted({**raw, "type": kind})
    except ToxicError:
        return
    assert Toxic.from_json_untrusted(made.to_json()) == made
