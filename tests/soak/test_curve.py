from __future__ import annotations

import pytest

from soak.curve import slope, sparkline


def test_the_slope_of_a_line_is_its_slope() -> None:
    assert slope([(0, 5), (1, 7), (2, 9)]) == pytest.approx(2.0)
    assert slope([(0, 5), (10, 5), (20, 5)]) == 0
    assert slope([(1, 5)]) == slope([]) == slope([(1, 5), (1, 9)]) == 0


def test_a_line_of_blocks() -> None:
    assert sparkline([0, 1, 2, 3, 4, 5, 6, 7]) == "▁▂▃▄▅▆▇█"
    assert sparkline([3, 3, 3]) == "▁▁▁"
    assert sparkline([0] * 50 + [7] + [0] * 49, width=4) == "▁▁█▁"
    assert sparkline([]) == ""
