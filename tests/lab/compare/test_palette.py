from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest

from blockstep_lab.compare.palette import DARK, LIGHT, WASH, looks_of, to_css
from support.compared import contender

# Linear RGB as it is seen; Machado, Oliveira and Fernandes (2009), severity 1.
SIGHTS: dict[str, Sequence[Sequence[float]]] = {
    "normal": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "protanopia": ((0.1523, 1.0526, -0.2049), (0.1145, 0.7863, 0.0992), (-0.0039, -0.0481, 1.0520)),
    "deuteranopia": ((0.3673, 0.8606, -0.2280), (0.2801, 0.6725, 0.0474), (-0.0118, 0.0429, 0.9689)),
    "tritanopia": ((1.2555, -0.0767, -0.1788), (-0.0784, 0.9308, 0.1476), (0.0047, 0.6914, 0.3039)),
}


def linear(color: str) -> list[float]:
    parts = [int(color[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    return [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]


def luminance(color: str) -> float:
    red, green, blue = linear(color)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def cielab(color: str, sight: Sequence[Sequence[float]]) -> tuple[float, float, float]:
    source = linear(color)
    red, green, blue = (min(1.0, max(0.0, sum(a * b for a, b in zip(row, source, strict=True)))) for row in sight)
    x = (0.4124 * red + 0.3576 * green + 0.1805 * blue) / 0.9505
    y = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    z = (0.0193 * red + 0.1192 * green + 0.9505 * blue) / 1.089
    one, two, three = (t ** (1 / 3) if t > 0.008856 else 7.787 * t + 16 / 116 for t in (x, y, z))
    return 116 * two - 16, 500 * (one - two), 200 * (two - three)


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])
@pytest.mark.parametrize("sight", SIGHTS)
def test_no_two_contenders_look_alike_to_anybody(theme: Mapping[str, str], sight: str) -> None:
    colors = [color for name, color in theme.items() if name[-1].isdigit()]
    seen = [cielab(color, SIGHTS[sight]) for color in colors]
    assert min(math.dist(one, other) for one, other in itertools.combinations(seen, 2)) >= 24


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])
def test_text_and_marks_stand_out_from_the_background(theme: Mapping[str, str]) -> None:
    for name in ("--ink", "--muted", "--link", "--warn"):
        assert contrast(theme[name], theme["--paper"]) >= 4.5, name
    assert contrast(theme["--ink"], theme["--panel"]) >= 4.5
    for name, color in theme.items():
        if name[-1].isdigit():
            assert contrast(color, theme["--paper"]) >= 3, name


def test_transports_are_told_apart_and_a_twin_looks_like_what_it_stands_for() -> None:
    udp, tcp = contender("udp-w16-b1428"), contender("tcp-bbr")
    twin = replace(udp, id="udp-w16-b1428-sim", simulated=True)
    looks = looks_of([contender("udp-w1-b1428"), udp, twin, tcp, contender("unix"), contender("loopback-tcp")])
    assert set(looks) == {"udp-w1-b1428", udp.id, twin.id, tcp.id}
    assert (looks[udp.id].color, looks[tcp.id].color) == ("--udp-1", "--tcp-0")
    assert looks[twin.id] == replace(looks[udp.id], hollow=True)


def test_when_colours_run_out_the_marks_and_lines_differ() -> None:
    many = [replace(contender("udp-w16-b1428"), id=str(window), windowsize=window) for window in range(1, 17)]
    looks = looks_of(many).values()
    assert len({(look.color, look.mark) for look in looks}) == 16
    assert [look.dash for look in looks][::4] == ["solid", "dash", "dashdot", "dashdot"]


def test_both_themes_are_in_the_css() -> None:
    css = to_css()
    for name in LIGHT:
        assert css.count(f"{name}: ") == 2
    assert f"--udp-0{WASH}: {LIGHT['--udp-0']}26;" in css
    assert set(LIGHT) == set(DARK)
