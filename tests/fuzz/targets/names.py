"""From a name on the wire to a file: never out of the root, never a NUL, and both ways to look one up agree.

The names meet a real directory with links that lead out of it, into it and in circles.
"""

from __future__ import annotations

import os
import stat
import tempfile
from functools import cache
from pathlib import Path

from blockstep.protocol.errors import ErrorCode, RemoteError
from blockstep.transport.atomic import HIDDEN_PREFIX
from blockstep_server.paths import Root, components_of_untrusted

_CODES = {ErrorCode.FILE_NOT_FOUND, ErrorCode.ACCESS_VIOLATION}


def one_input(data: bytes) -> None:
    """`data` is the name's field of a request."""
    name = data.decode("utf-8", "surrogateescape")
    try:
        parts = components_of_untrusted(name)
    except RemoteError as error:
        assert error.code in _CODES
        assert str(_place()).encode() not in str(error).encode(), "the answer shows where the root is"
        return
    _is_below(parts)
    _opened(name)


def _is_below(parts: list[bytes]) -> None:
    assert parts
    for part in parts:
        assert part not in (b"", b".", b".."), "a component that moves"
        assert not {0, ord("/"), ord("\\")} & set(part), "a component that is two, or ends early"
        assert len(part) <= 255
        assert not part.lower().startswith(HIDDEN_PREFIX.encode()), "a temporary of ours has a name"
    path = os.path.normpath(b"/root/" + b"/".join(parts))
    assert path.startswith(b"/root/"), "out of the root"


def _opened(name: str) -> None:
    """What openat2 opens lies below the root and is a regular file; the walk without it opens the same or nothing."""
    quick, slow = _roots()
    found = _status(quick, name)
    walked = _status(slow, name)
    assert walked is None or (found is not None and os.path.samestat(walked, found)), "two ways, two files"


def _status(root: Root, name: str) -> os.stat_result | None:
    try:
        fd, status = root.open_for_reading(name)
    except RemoteError as error:
        assert error.code in _CODES
        return None
    try:
        where = Path(os.readlink(f"/proc/self/fd/{fd}"))
        assert where.is_relative_to(_place()), f"it opened {where}"
        assert stat.S_ISREG(status.st_mode)
        return status
    finally:
        os.close(fd)


@cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    """Removed when the process ends."""
    return tempfile.TemporaryDirectory(prefix="blockstep-fuzz-names-")


@cache
def _place() -> Path:
    """The root: a few files, and links of every kind."""
    folder = Path(_folder().name)
    root = folder / "root"
    (root / "a" / "b").mkdir(parents=True)
    for file in (folder / "outside", root / "f", root / "a" / "f", root / "a" / "b" / "g"):
        file.write_text(str(file))
    links = {"in": "a", "up": "..", "out": "../outside", "abs": "/etc", "me": "me", "root": ".", "far": "a/../a/b"}
    for link, target in links.items():
        (root / link).symlink_to(target)
    (root / "a" / "out").symlink_to("../../outside")
    os.mkfifo(root / "fifo")
    return root


@cache
def _roots() -> tuple[Root, Root]:
    return Root(_place()), Root(_place(), use_openat2=False)
