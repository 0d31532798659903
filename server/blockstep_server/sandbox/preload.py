"""What Python loads only when it is first needed, loaded now: a confined process can open no file to load it from.

The same holds for a server that has become another user and may no longer read the interpreter's own files.
"""

from __future__ import annotations

import contextlib
import importlib

__all__ = ["MODULES", "everything"]

MODULES = (
    "encodings.ascii",
    "encodings.idna",  # `getaddrinfo` and `sendto` with a host name
    "encodings.latin_1",
    "encodings.utf_8",
    "stringprep",
    "unicodedata",
    "linecache",
    "tokenize",  # tracebacks ask linecache for the source, and it asks this
    "traceback",
    "textwrap",
    "_colorize",  # since 3.13
    "_pyrepl.utils",  # since 3.14, for the colours of tracebacks
)


def everything() -> None:
    """Import them. What this Python does not have it will not ask for."""
    for name in MODULES:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
