"""Plain JSON values back into the frozen dataclasses that they were made from.

Decided here: that a file which does not fit is refused with the place where it does not (a person may have edited it,
or it may be of another version), and that unknown keys are an error. Not known here: what the dataclasses mean.
"""

from __future__ import annotations

import types
from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from blockstep.protocol.errors import LocalError

__all__ = ["decode_untrusted"]

_T = TypeVar("_T")


def decode_untrusted(kind: type[_T], raw: object) -> _T:
    """`raw` (what `json.loads` gives) as the dataclass `kind`; LocalError names the place that does not fit."""
    return cast(_T, _value(kind, raw, kind.__name__))


def _value(kind: Any, raw: object, where: str) -> Any:
    if is_dataclass(kind):
        return _record(kind, raw, where)
    origin = get_origin(kind)
    if origin in (Union, types.UnionType):
        return _one_of(get_args(kind), raw, where)
    if origin is tuple:
        return _tuple(get_args(kind), raw, where)
    if origin is dict:
        if not isinstance(raw, dict):
            raise _unfit(raw, "an object", where)
        return {str(name): _value(get_args(kind)[1], each, f"{where}.{name}") for name, each in raw.items()}
    return _scalar(kind, raw, where)


def _record(kind: Any, raw: object, where: str) -> Any:
    if not isinstance(raw, dict):
        raise _unfit(raw, "an object", where)
    hints = get_type_hints(kind)
    names = [each.name for each in fields(kind)]
    missing = [name for name in names if name not in raw]
    unknown = [str(name) for name in raw if name not in hints]
    if missing or unknown:
        raise LocalError(f"{where}: {'missing' if missing else 'unknown'} {', '.join(missing or unknown)[:200]}")
    return kind(**{name: _value(hints[name], raw[name], f"{where}.{name}") for name in names})


def _tuple(kinds: Sequence[Any], raw: object, where: str) -> tuple[Any, ...]:
    if not isinstance(raw, list):
        raise _unfit(raw, "a list", where)
    if kinds[-1] is not Ellipsis:
        if len(kinds) != len(raw):
            raise _unfit(raw, f"a list of {len(kinds)}", where)
        return tuple(
            _value(kind, each, f"{where}[{place}]") for place, (kind, each) in enumerate(zip(kinds, raw, strict=True))
        )
    return tuple(_value(kinds[0], each, f"{where}[{place}]") for place, each in enumerate(raw))


def _one_of(kinds: Sequence[Any], raw: object, where: str) -> Any:
    """A value of the first kind, or None where that is allowed: no other unions are used."""
    if raw is None and types.NoneType in kinds:
        return None
    return _value(kinds[0], raw, where)


def _scalar(kind: Any, raw: object, where: str) -> Any:
    if kind is float and isinstance(raw, int) and not isinstance(raw, bool):
        return float(raw)
    if not isinstance(raw, kind) or (isinstance(raw, bool) and kind is not bool):
        raise _unfit(raw, {str: "text", bool: "true or false"}.get(kind, "a number"), where)
    return raw


def _unfit(raw: object, wanted: str, where: str) -> LocalError:
    return LocalError(f"{where} should be {wanted}, not {ascii(raw)[:60]}")
