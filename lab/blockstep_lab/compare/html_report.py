"""A comparison as one HTML page with interactive charts, for `--report`.

Decided here: plotly draws (docs/compare.md says why), and its JavaScript comes from its own wheel; without the extra
`report` this module cannot be imported, and nothing else of `compare` needs it.
"""

from __future__ import annotations

from pathlib import Path

from plotly.offline import get_plotlyjs

from blockstep_lab.compare.report.page import to_html
from blockstep_lab.compare.results import CompareResult
from blockstep_lab.compare.whole import write_whole

__all__ = ["write"]


def write(result: CompareResult, path: Path) -> None:
    """The page, whole or not at all, some 5 MB of which nearly all is plotly. LocalError names the path."""
    write_whole(path, to_html(result, get_plotlyjs()))
