"""How a comparison was measured, so that a reader can judge it or repeat it, as HTML.

Decided here: what is told, the digest of what arrived above all. Not known here: the numbers.
"""

from __future__ import annotations

import shlex

from blockstep_lab.compare.report.markup import Html, element, join
from blockstep_lab.compare.results import CompareResult, Method

__all__ = ["method_list", "place_of", "repeat_command"]


def place_of(method: Method) -> str:
    """Where it was measured."""
    return {
        "namespaces": "two network namespaces of one machine, joined by a router in user space",
        "host": f"a real path to {method.host}",
        "simulation": "virtual time; everything is simulated",
    }.get(method.where, method.where)


def repeat_command(method: Method) -> Html:
    """What to type to get it again."""
    return element("pre", element("code", shlex.join(method.command)), class_="command")


def method_list(record: CompareResult) -> Html:
    """Terms and what they are here."""
    method = record.method
    lab = ", ".join(filter(None, (method.carrier, method.scheduler and f"router {method.scheduler}")))
    rows = {
        "Where": place_of(method) + (f" ({lab})" if lab else ""),
        "File": f"{method.file_name}, {method.file_bytes:,} bytes",
        "What arrived": _digests(record),
        "Runs": f"{len(record.runs):,} of {record.planned_runs:,}: {method.repeats} of each cell, in turns (A B A B), "
        f"stopped after {method.max_time_s:g} s each; {method.elapsed_s:,.0f} s in all",
        "Seed": method.seed,
        "Numbers": "medians; intervals are a percentile bootstrap at 95 %. A run in which the link failed its own "
        "checks (ring drops, late packets, another loss than was asked for) is void and in no number.",
        "Begun": method.started_at,
        "Program": f"blockstep {method.blockstep}, Python {method.python}",
        "Kernel": method.kernel,
        "CPU": f"{method.processors} x {method.cpu}",
        "Links": "; ".join(
            f"{link.label}: {_words(link.down, link.up)}" for link in record.links if link.down or link.up
        )
        or "none of ours",
        "MTU": f"{method.link_mtu} bytes",
    }
    return element("dl", *(join(element("dt", term), element("dd", told)) for term, told in rows.items()))


def _digests(record: CompareResult) -> str:
    wanted = record.method.file_sha256
    whole = [run for run in record.runs if run.sha256 is not None]
    same = sum(run.sha256 == wanted for run in whole)
    told = f"{same:,} of {len(record.runs):,} runs delivered the file, with the SHA-256 {wanted}"
    other = len(whole) - same
    return f"{told}; {other:,} delivered something else" if other else told


def _words(down: str, up: str) -> str:
    """In netem's words, once where both ways are the same."""
    return down if down == up else f"to the client {down or 'perfect'}, to the server {up or 'perfect'}"
