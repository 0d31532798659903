"""Toxiproxy's nouns for a bad link: named toxics that come and go, each on one stream.

Decided here: what each toxic means in netem's words, and how several join with the conditions that the link started
with: a later one replaces what an earlier one said about the same thing. `upstream` is client to server, as in
Toxiproxy. Two types are ours, `netem` (attribute `words`) and `rule` (attribute `rule`). Not known here: HTTP.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from blockstep.protocol.errors import LocalError
from blockstep_lab.conditions import Conditions, RandomLoss
from blockstep_lab.rules import Rule
from blockstep_lab.words import WordsError, did_you_mean

__all__ = ["STREAMS", "Toxic", "ToxicError", "Toxics"]

STREAMS = {"upstream": "up", "downstream": "down"}
_MOST_TOXICS = 100
_NAME = re.compile(r"[A-Za-z0-9._-]{1,100}", re.ASCII)
_LARGEST = 1e9


class ToxicError(LocalError):
    """A request that can not be met; `status` is the HTTP status that says so."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class Toxic:
    """One toxic. `effect` is what it means: conditions that replace others, or a rule."""

    name: str
    kind: str
    stream: str
    toxicity: float
    attributes: Mapping[str, Any]
    effect: Conditions | Rule

    @classmethod
    def from_json_untrusted(cls, raw: Mapping[str, Any]) -> Toxic:
        """A toxic from the body of a request; `ToxicError` (400) says what is wrong."""
        stream = raw.get("stream", "downstream")
        if not isinstance(stream, str) or stream not in STREAMS:
            raise ToxicError(400, "stream must be 'upstream' or 'downstream'")
        kind = raw.get("type")
        if not isinstance(kind, str) or kind not in _EFFECTS:
            hint = did_you_mean(kind, _EFFECTS) if isinstance(kind, str) else ""
            raise ToxicError(400, f"unknown toxic type{hint} (known: {', '.join(_EFFECTS)})")
        name = raw.get("name") or f"{kind}_{stream}"
        attributes = raw.get("attributes", {})
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise ToxicError(400, "name must be of letters, digits, '.', '_' and '-', at most 100")
        if not isinstance(attributes, dict):
            raise ToxicError(400, "attributes must be an object")
        toxicity = _number(raw, "toxicity", 1.0)
        return cls(name, kind, stream, toxicity, attributes, _effect(kind, stream, toxicity, attributes))

    def to_json(self) -> dict[str, Any]:
        """The toxic as Toxiproxy shows it."""
        return {
            "name": self.name,
            "type": self.kind,
            "stream": self.stream,
            "toxicity": self.toxicity,
            "attributes": dict(self.attributes),
        }


def _effect(kind: str, stream: str, toxicity: float, attributes: Mapping[str, Any]) -> Conditions | Rule:
    if not 0 <= toxicity <= 1:
        raise ToxicError(400, "toxicity goes from 0 to 1")
    if kind != "timeout" and toxicity != 1:
        raise ToxicError(400, "a toxicity other than 1 is only for timeout; use netem's percentages")
    try:
        effect = _EFFECTS[kind](attributes)
    except WordsError as error:
        raise ToxicError(400, str(error)) from error
    if isinstance(effect, Rule):
        return replace(effect, direction=STREAMS[stream])
    return Conditions(loss=RandomLoss(round(toxicity * 100, 9))) if kind == "timeout" else effect


def _latency(attributes: Mapping[str, Any]) -> Conditions:
    latency, jitter = _number(attributes, "latency", 0), _number(attributes, "jitter", 0)
    return Conditions.parse(f"delay {latency:.6f}ms {jitter:.6f}ms")


def _bandwidth(attributes: Mapping[str, Any]) -> Conditions:
    return Conditions.parse(f"rate {_number(attributes, 'rate', 0):.6f}kbps")


def _netem(attributes: Mapping[str, Any]) -> Conditions:
    return Conditions.parse(_text(attributes, "words"))


def _rule(attributes: Mapping[str, Any]) -> Rule:
    return Rule.parse(_text(attributes, "rule"))


def _timeout(_attributes: Mapping[str, Any]) -> Conditions:
    """A connection that hangs: for datagrams, all are lost, or as many as the toxicity says."""
    return Conditions(loss=RandomLoss(100.0))


def _number(raw: Mapping[str, Any], key: str, default: float) -> float:
    value = raw.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _LARGEST:
        raise ToxicError(400, f"{key} must be a number from 0 on")
    return float(value)


def _text(attributes: Mapping[str, Any], key: str) -> str:
    value = attributes.get(key)
    if not isinstance(value, str):
        raise ToxicError(400, f"the attribute {key} must be a text")
    return value


_EFFECTS: dict[str, Callable[[Mapping[str, Any]], Conditions | Rule]] = {
    "latency": _latency,
    "bandwidth": _bandwidth,
    "timeout": _timeout,
    "netem": _netem,
    "rule": _rule,
}


class Toxics:
    """The toxics of one link above the conditions and rules that it started with."""

    def __init__(self, up: Conditions, down: Conditions, rules: Sequence[Rule]) -> None:
        self._base = {"up": up, "down": down}
        self._rules = rules
        self._by_name: dict[str, Toxic] = {}
        self.enabled = True

    def __iter__(self) -> Iterator[Toxic]:
        return iter(self._by_name.values())

    def get(self, name: str) -> Toxic:
        """The toxic of this name; `ToxicError` (404) if there is none."""
        if name not in self._by_name:
            raise ToxicError(404, f"toxic not found{did_you_mean(name, self._by_name)}")
        return self._by_name[name]

    def add(self, toxic: Toxic) -> None:
        """One more; `ToxicError` 409 if the name is taken, 400 if the whole makes no sense."""
        if toxic.name in self._by_name:
            raise ToxicError(409, "toxic already exists")
        if len(self._by_name) >= _MOST_TOXICS:
            raise ToxicError(400, f"at most {_MOST_TOXICS} toxics")
        self._try({**self._by_name, toxic.name: toxic})

    def update(self, toxic: Toxic) -> None:
        """Replaces the toxic of the same name."""
        self.get(toxic.name)
        self._try({**self._by_name, toxic.name: toxic})

    def remove(self, name: str) -> None:
        """Takes one away; `ToxicError` as `get` and `add`."""
        self.get(name)
        self._try({key: toxic for key, toxic in self._by_name.items() if key != name})

    def reset(self) -> None:
        """Back to what the link started with."""
        self._by_name = {}
        self.enabled = True

    def conditions(self, direction: str) -> Conditions:
        """What holds now for `up` or `down`."""
        return _joined(self._base[direction], self._by_name, direction, self.enabled)

    def rules(self) -> list[Rule]:
        """The rules that hold now."""
        return [*self._rules, *(toxic.effect for toxic in self._by_name.values() if isinstance(toxic.effect, Rule))]

    def _try(self, by_name: dict[str, Toxic]) -> None:
        try:
            for direction, base in self._base.items():
                _joined(base, by_name, direction, self.enabled)
        except WordsError as error:
            raise ToxicError(400, str(error)) from error
        self._by_name = by_name


def _joined(base: Conditions, by_name: Mapping[str, Toxic], direction: str, enabled: bool) -> Conditions:
    said: dict[str, Any] = {}
    for toxic in by_name.values():
        if STREAMS[toxic.stream] == direction and isinstance(toxic.effect, Conditions):
            values = ((field.name, getattr(toxic.effect, field.name)) for field in fields(Conditions))
            said.update({name: value for name, value in values if value is not None})
    if not enabled:
        said.update(loss=RandomLoss(100.0), duplicate=None)
    return replace(base, **said)
