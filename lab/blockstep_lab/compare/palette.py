"""How each contender looks, the same in every chart of a comparison, on screen and on paper.

Decided here: colours by transport (UDP cool, TCP warm, so that a glance tells them apart), a mark beside every colour,
hollow for what is simulated. The colours were searched for: each has a contrast of 3 to 1 or more with its background
and any two differ by a CIELAB distance of 24 or more for normal sight, protanopia, deuteranopia and tritanopia
(tests/lab/compare/test_palette.py measures it). Names are CSS custom properties. Not known here: charts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from blockstep_lab.compare.results import Contender

__all__ = ["DARK", "LIGHT", "WASH", "Look", "looks_of", "to_css"]

LIGHT: Mapping[str, str] = {
    "--paper": "#ffffff",
    "--panel": "#f5f6f8",
    "--ink": "#1b1f24",
    "--muted": "#59616b",
    "--grid": "#e1e4e8",
    "--link": "#0b57a4",
    "--warn": "#8a3b00",
    "--udp-0": "#162651",
    "--udp-1": "#2498db",
    "--udp-2": "#5f3bc4",
    "--udp-3": "#1b6c53",
    "--tcp-0": "#cd7818",
    "--tcp-1": "#cb0b9c",
    "--tcp-2": "#7f5217",
    "--tcp-3": "#3d1914",
}
DARK: Mapping[str, str] = {
    "--paper": "#14171c",
    "--panel": "#1d2128",
    "--ink": "#e8eaed",
    "--muted": "#a3abb5",
    "--grid": "#323842",
    "--link": "#8ab8ff",
    "--warn": "#ffb37a",
    "--udp-0": "#b4cfee",
    "--udp-1": "#5790ec",
    "--udp-2": "#7843ee",
    "--udp-3": "#5ce0b0",
    "--tcp-0": "#f0490e",
    "--tcp-1": "#cc4a99",
    "--tcp-2": "#a0704d",
    "--tcp-3": "#f2de68",
}
WASH = "-wash"
"""After a colour's name: the same, nearly transparent."""

_WASH_ALPHA = "26"
_SLOTS = 4
_DASHES = ("solid", "dash", "dashdot")
_MARKS = {"udp": ("circle", "square", "diamond", "hexagon"), "tcp": ("triangle-up", "triangle-down", "star", "cross")}


@dataclass(frozen=True, slots=True)
class Look:
    """`color` is a name in `LIGHT` and `DARK`, `mark` a symbol and `dash` a line's style in plotly's words."""

    color: str
    mark: str
    dash: str
    hollow: bool


def looks_of(contenders: Sequence[Contender]) -> dict[str, Look]:
    """By the contender's id. A simulated one looks like what it stands for, hollow; ceilings are in no chart."""
    slots: dict[str, list[tuple[object, ...]]] = {"udp": [], "tcp": []}
    looks = {}
    for each in contenders:
        if each.ceiling or each.transport not in slots:
            continue
        kinds, kind = slots[each.transport], (each.blksize, each.windowsize, each.congestion)
        if kind not in kinds:
            kinds.append(kind)
        looks[each.id] = _look(each.transport, kinds.index(kind), hollow=each.simulated)
    return looks


def _look(transport: str, place: int, *, hollow: bool) -> Look:
    """When the colours are used up they come again with other marks and lines; dotted lines are for theory."""
    turn, slot = divmod(place, _SLOTS)
    return Look(f"--{transport}-{slot}", _MARKS[transport][(slot + turn) % _SLOTS], _DASHES[min(turn, 2)], hollow)


def to_css() -> str:
    """The custom properties; `.paper` on the root is for printing."""
    light, dark = _declarations(LIGHT), _declarations(DARK)
    return (
        f":root {{ color-scheme: light dark; {light} }}\n"
        f"@media screen and (prefers-color-scheme: dark) {{ :root:not(.paper) {{ {dark} }} }}\n"
    )


def _declarations(colors: Mapping[str, str]) -> str:
    washes = {f"{name}{WASH}": f"{color}{_WASH_ALPHA}" for name, color in colors.items() if name[-1].isdigit()}
    return " ".join(f"{name}: {color};" for name, color in {**colors, **washes}.items())
