"""Which cells are simulated instead of waited for.

Decided here: `slow` simulates the cells of UDP that the laws expect to take longer than `--max-time`; `all` simulates
all of UDP, and there is nothing else then, because no kernel's TCP runs on virtual time. A simulated cell belongs to a
contender of its own, so that no row mixes both.
"""

from __future__ import annotations

from dataclasses import replace

from blockstep_lab.compare.grid import Grid
from blockstep_lab.compare.laws import GO_BACK_N, WINDOW, laws_for
from blockstep_lab.compare.results import LOCAL, Contender, LinkSpec

__all__ = ["expected_s", "with_simulated"]

_SETUP_S = 0.4


def with_simulated(grid: Grid, which: str, file_bytes: int, max_time_s: float) -> Grid:
    """The grid with twins on virtual time; `which` is `slow` or `all`."""
    if which == "all":
        twins = [_twin(each) for each in grid.contenders if each.transport == "udp" and not each.ceiling]
        return replace(grid, contenders=tuple(twins), links=tuple(link for link in grid.links if link.id != LOCAL))
    left_out = set(grid.left_out)
    contenders: list[Contender] = []
    for contender in grid.contenders:
        twin = _twin(contender)
        links = [link for link in grid.links if grid.meet(contender, link)]
        slow = {link.id for link in links if expected_s(contender, link, file_bytes) > max_time_s}
        slow = slow if contender.transport == "udp" else set()
        left_out |= {(contender.id, each) for each in slow}
        left_out |= {(twin.id, link.id) for link in grid.links if link.id not in slow}
        contenders += [contender] if len(slow) < len(links) else []
        contenders += [twin] if slow else []
    return replace(grid, contenders=tuple(contenders), left_out=frozenset(left_out))


def expected_s(contender: Contender, link: LinkSpec, file_bytes: int) -> float:
    """How long a run should take, with what surrounds it; for estimates only."""
    laws = laws_for(contender, link)
    if contender.transport == "udp" and laws:
        return file_bytes * 8 / laws.get(GO_BACK_N, laws.get(WINDOW, 1e9)) + _SETUP_S
    rate = (link.rate_bit_s or 100e6) / (1 + 100 * (link.loss or 0.0))
    return file_bytes * 8 / rate + 10 * (link.rtt_s or 0.0) + _SETUP_S


def _twin(contender: Contender) -> Contender:
    return replace(contender, id=f"{contender.id}-sim", label=f"{contender.label} (simulated)", simulated=True)
