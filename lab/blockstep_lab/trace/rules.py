"""What a capture can prove against the RFCs.

A violation names its rule, the place in the RFCs, the first packet that shows it and how often it happened. A capture
that missed packets can accuse the innocent; where the missing packet gives itself away (one direction only, a block
that was never seen although later ones were) the rules stay silent.

The rules stand in `rules_options` (what was negotiated) and `rules_flow` (DATA and ACK); this file runs them and adds
up repeats of one rule by one side.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from blockstep_lab.trace.rules_flow import FLOW_RULES
from blockstep_lab.trace.rules_options import OPTION_RULES
from blockstep_lab.trace.transfer import Found, Side, Transfer

__all__ = ["RULES", "Violation", "check"]

Rule = Callable[[Transfer], Iterable[Found]]

RULES: dict[str, tuple[str, Rule]] = {**OPTION_RULES, **FLOW_RULES}


@dataclass(frozen=True, slots=True)
class Violation:
    """`rule` is a short stable name, `reference` the place in the RFCs, `frame` the first packet that shows it,
    `text` what happened there, `count` how often `side` did it."""

    rule: str
    reference: str
    side: Side
    frame: int
    text: str
    count: int = 1


def check(transfer: Transfer) -> list[Violation]:
    """The violations in one transfer, in the order of their first packets. Block indexes and resends must be there."""
    found: dict[tuple[str, Side], Violation] = {}
    for violation in _all(transfer):
        key = violation.rule, violation.side
        first = found.setdefault(key, violation)
        if first is not violation:
            found[key] = replace(first, count=first.count + 1)
    return sorted(found.values(), key=lambda violation: violation.frame)


def _all(transfer: Transfer) -> Iterator[Violation]:
    for name, (reference, rule) in RULES.items():
        for packet, text in rule(transfer):
            yield Violation(name, reference, packet.side, packet.frame, text)
