"""A text file that is there whole, or as it was before."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from blockstep.protocol.errors import LocalError

__all__ = ["write_whole"]


def write_whole(path: Path, text: str) -> None:
    """Replaces the file at once, in UTF-8. LocalError names it."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        beside.write_text(text, encoding="utf-8")
        beside.replace(path)
    except OSError as error:
        raise LocalError(f"{path}: {error.strerror}") from error
    finally:
        with suppress(OSError):
            beside.unlink()
