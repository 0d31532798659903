"""A made-up distribution on the path, for tests of what is found through entry points."""

from __future__ import annotations

import textwrap
from pathlib import Path

__all__ = ["install"]


def install(folder: Path, entry_points: dict[str, str], source: str, module: str = "made_up") -> Path:
    """Write a distribution `made-up` with one module and these commands; put `folder` on the path to have it installed.

    `entry_points` maps a command's name to `module:attribute`.
    """
    metadata = folder / "made_up-1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: made-up\nVersion: 1.0\n")
    lines = [f"{name} = {value}" for name, value in entry_points.items()]
    (metadata / "entry_points.txt").write_text("\n".join(["[blockstep.commands]", *lines, ""]))
    (folder / f"{module}.py").write_text(textwrap.dedent(source))
    return folder
