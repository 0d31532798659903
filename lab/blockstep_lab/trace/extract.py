"""The files that were carried, rebuilt from a capture: `--extract DIR`.

Rules of this file:

* Names from the wire are not trusted. What is left of one is its last component in letters, digits, `.`, `_` and `-`,
  without a leading dot; every file is made new, below the one directory that was opened, and never through a link.
* An existing file is never touched: a taken name gets `.2`, `.3` and so on.
* Only what was seen whole is given its name. A transfer with blocks missing is written up to the first of them, with
  `.incomplete` behind its name.
* Payloads wait in an unnamed file on disk while the capture is read, so memory does not grow with them.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from blockstep.protocol.errors import LocalError
from blockstep.protocol.netascii import Decoder
from blockstep_lab.trace.outcome import body_of
from blockstep_lab.trace.transfer import TracedPacket, Transfer

__all__ = ["Extracted", "Extractor", "safe_name"]

_NAME_LARGEST = 120
_TRIES_MOST = 10_000
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+", re.ASCII)


@dataclass(frozen=True, slots=True)
class Extracted:
    """One file that was written: its name below the directory, its octets, and whether it is all of the transfer."""

    name: str
    octets: int
    complete: bool


class Extractor:
    """Collects payloads while a capture is read (`spool`), then writes files (`write`). Use it in a `with` block."""

    def __init__(self, directory: Path, *, decode_netascii: bool = False) -> None:
        """Make `directory` if it is not there; LocalError if that fails."""
        self._decode = decode_netascii
        try:
            directory.mkdir(parents=True, exist_ok=True)
            self._directory = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise LocalError(f"cannot extract to that directory: {error.strerror}") from error
        self._payloads: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed in __exit__
        self._end = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._payloads.close()
        os.close(self._directory)

    def spool(self, payload: bytes) -> int:
        """Keep one payload; the place that `TracedPacket.spooled` remembers. LocalError if the disk is full."""
        place = self._end
        try:
            self._payloads.write(payload)
        except OSError as error:
            raise LocalError(f"cannot keep the payloads: {error.strerror}") from error
        self._end += len(payload)
        return place

    def maybe_write(self, transfer: Transfer) -> Extracted | None:
        """Write the file of one transfer; None if it carried no block. LocalError if writing fails."""
        blocks, last = body_of(transfer)
        parts = _in_order(blocks, last)
        if not parts:
            return None
        complete = last is not None and len(parts) == last
        name = safe_name(transfer.request.filename) + ("" if complete else ".incomplete")
        try:
            self._payloads.flush()
            name, fd = self._create(name)
            with os.fdopen(fd, "wb") as file:
                for piece in self._pieces(transfer, parts):
                    file.write(piece)
                return Extracted(name, file.tell(), complete)
        except OSError as error:
            raise LocalError(f"cannot write {name}: {error.strerror}") from error

    def _create(self, name: str) -> tuple[str, int]:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        for number in range(1, _TRIES_MOST):
            wanted = name if number == 1 else f"{name}.{number}"
            try:
                return wanted, os.open(wanted, flags, 0o644, dir_fd=self._directory)
            except FileExistsError:
                continue
        raise LocalError(f"too many files named {name}")

    def _pieces(self, transfer: Transfer, parts: list[TracedPacket]) -> Iterator[bytes]:
        octets = (os.pread(self._payloads.fileno(), part.length, part.spooled) for part in parts)
        if not (self._decode and transfer.request.mode == "netascii"):
            yield from octets
            return
        decoder = Decoder()
        for piece in octets:
            yield decoder.decode(piece)
        yield decoder.finish()


def safe_name(wire_name: str) -> str:
    """A file name for a name from the wire: no separator, no leading dot, plain ASCII, never empty."""
    last = re.split(r"[/\\]", wire_name.rstrip("/\\"))[-1]
    return _UNSAFE.sub("_", last).lstrip(".")[:_NAME_LARGEST] or "unnamed"


def _in_order(blocks: dict[int, TracedPacket], last: int | None) -> list[TracedPacket]:
    """The blocks from the first on, up to the last or to the first that is missing or was not kept whole."""
    parts: list[TracedPacket] = []
    while (part := blocks.get(len(parts) + 1)) is not None and part.spooled >= 0:
        parts.append(part)
        if len(parts) == last:
            break
    return parts
