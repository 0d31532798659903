"""What `status` answers: the server as it stands, in one mapping that JSON has.

The keys are an interface: they are only ever added to. Sizes are bytes, times seconds. What a child has written about
its transfer is checked for its type and cut, not believed.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from blockstep import __version__
from blockstep_server.children import Child
from blockstep_server.config import ServerConfig
from blockstep_server.reload import limits_in_words
from blockstep_server.supervisor import Supervisor

__all__ = ["describe"]

_LISTED_MOST = 1000
_NAME_MOST = 512


def describe(supervisor: Supervisor, config: ServerConfig, addresses: Sequence[str]) -> dict[str, object]:
    """The answer. `transfers` lists at most 1000; `places` also counts connections on which nothing is under way."""
    now = supervisor.clock()
    return {
        "version": __version__,
        "pid": os.getpid(),
        "phase": supervisor.phase.name.lower(),
        "uptime_s": round(now - supervisor.started_s, 3),
        "root": str(config.root.absolute()),
        "listening": list(addresses),
        "places": len(supervisor.admission),
        "limits": limits_in_words(config),
        "transfers": _transfers(supervisor, now),
        "totals": supervisor.tally.facts(),
    }


def _transfers(supervisor: Supervisor, now: float) -> list[dict[str, object]]:
    found: list[dict[str, object]] = []
    for child in supervisor.children:
        facts = _maybe_facts(child, now)
        if facts is not None:
            found.append(facts)
        if len(found) == _LISTED_MOST:
            break
    return found


def _maybe_facts(child: Child, now: float) -> dict[str, object] | None:
    """One transfer; None for a child on which nothing is under way, or not yet."""
    live = child.slot.maybe_live() if child.slot is not None else None
    if live is None:
        return None
    seconds = max(0.0, now - live.started_s)
    return {
        "pid": child.pid,
        "peer": child.task.blank.peer,
        "local": child.task.blank.local,
        "transport": child.task.blank.transport,
        "op": _text(live.facts, "op"),
        "file": _text(live.facts, "file"),
        "mode": _text(live.facts, "mode"),
        "options": _numbers(live.facts.get("options")),
        "bytes": live.payload_bytes,
        "resends": live.resends,
        "seconds": round(seconds, 3),
        "bytes_per_s": round(live.payload_bytes / seconds) if seconds else 0,
    }


def _text(facts: Mapping[str, object], name: str) -> str:
    value = facts.get(name)
    return value[:_NAME_MOST] if isinstance(value, str) else ""


def _numbers(value: object) -> dict[str, int]:
    if not isinstance(value, dict):
        return {}
    return {str(name)[:32]: number for name, number in list(value.items())[:16] if type(number) is int}
