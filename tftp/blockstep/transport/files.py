"""Where the bytes of a transfer come from and where they go.

A *source* is read strictly forward into the payload slots of a ring and is never read twice: a resend comes from the
ring. A *sink* takes the bytes in order; its target is there, whole, after `commit`, and was never touched after
`abort`. Both block, and both turn every operating system error into `TransferFailed` with a sentence that may go to the
peer. Known here: files and netascii. Not known: blocks, windows, names from the network, pipes (they are in `pipes`),
and how a file comes to exist at once (that is `atomic`).

The promise about reading: a file that is changed in place while it is sent ends in an error, never in a normal end. A
TFTP transfer ends with a block shorter than the others (RFC 1350 section 6), and such a block can only come from a
read that came out short; so the check is made inside that read, before its bytes are handed out.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

from blockstep.protocol.errors import End, ErrorCode, LocalError, TransferFailed
from blockstep.protocol.netascii import Decoder, Encoder
from blockstep.transport.atomic import AtomicFileSink, sweep_leftovers
from blockstep.transport.pipes import StreamSink, StreamSource
from blockstep.transport.vectored import read_failed, read_fully, write_failed

__all__ = [
    "AtomicFileSink",
    "FileSource",
    "NetasciiSink",
    "NetasciiSource",
    "Sink",
    "Source",
    "StreamSink",
    "StreamSource",
    "Unsteady",
    "sink_at",
    "source_at",
    "sweep_leftovers",
]


class Source(Protocol):
    """Bytes to send, in order, once."""

    @property
    def size_bytes(self) -> int | None:
        """Bytes from start to end as they go on the wire (RFC 2349 tsize), or None where that is not known."""

    def readv(self, views: Sequence[memoryview]) -> int:
        """Fill `views` in order and return the bytes read: fewer than they hold only at the end, 0 after it.

        `views` is a run of payload slots: all of one length, only the last may be shorter.
        Raises TransferFailed (End.LOCAL_READ) when reading fails or the file was changed since it was opened.
        """

    def close(self) -> None:
        """Let go of the input; may be called twice."""


@runtime_checkable
class Unsteady(Source, Protocol):
    """A source that may let its reader wait: somebody is still making what it gives."""

    def ready_bytes(self, wanted: int, wait_s: float = 0.0) -> int:
        """How much of `wanted` can be read without waiting, or in `wait_s` altogether.

        `wanted` where that much is there or where the end is known to be nearer. TransferFailed as `readv`.
        """


class Sink(Protocol):
    """Where received bytes go, in order, once."""

    @property
    def bytes_written(self) -> int:
        """Bytes that the target holds so far (after netascii, where that is in use)."""

    def writev(self, views: Sequence[memoryview]) -> None:
        """Append all of `views`, a run as in `Source.readv`.

        Raises TransferFailed (End.LOCAL_WRITE); the sink is aborted then.
        """

    def commit(self) -> None:
        """Everything is there: make it last. Raises TransferFailed (End.LOCAL_WRITE); the sink is aborted then."""

    def abort(self) -> None:
        """Leave no trace where that can be had. Does nothing after `commit` or another `abort`."""


def source_at(path: Path) -> FileSource | StreamSource:
    """The file at `path`, or the pipe or device where it is one. Raises TransferFailed (End.LOCAL_READ)."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY)
    except OSError as error:
        raise read_failed(error) from None
    status = os.fstat(fd)
    if stat.S_ISREG(status.st_mode) and not _is_made_up(fd, status):
        return FileSource(fd)
    if not stat.S_ISDIR(status.st_mode):
        return StreamSource(fd, owned=True)
    os.close(fd)
    raise TransferFailed(End.LOCAL_READ, "it is a directory, not a file", ErrorCode.ACCESS_VIOLATION)


def _is_made_up(fd: int, status: os.stat_result) -> bool:
    """Whether a file is made by the kernel while it is read, so that its size says nothing (/proc, /sys)."""
    if status.st_blocks or status.st_size > _MADE_UP_MOST_BYTES:
        return False
    try:
        return len(os.pread(fd, status.st_size + 1, 0)) != status.st_size
    except OSError:
        return False  # reading will tell


# What /sys says of its files is one page.
_MADE_UP_MOST_BYTES = 1 << 16


def sink_at(path: Path, *, replace: bool = True, expected_bytes: int | None = None) -> AtomicFileSink | StreamSink:
    """A file that appears whole at `path`, or the pipe or device that is there. Raises TransferFailed (LOCAL_WRITE)."""
    try:
        kind = os.stat(path).st_mode
        if not stat.S_ISREG(kind) and not stat.S_ISDIR(kind):
            return StreamSink(os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOCTTY), owned=True)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise write_failed(error) from None
    return AtomicFileSink.at(path, replace=replace, expected_bytes=expected_bytes)


class FileSource:
    """A regular file, from its start to the end that it had when this was made.

    Takes over `fd`, open for reading; `close` closes it. What counts as changed: another size, another modification
    time, or a change time that nothing harmless explains. Being replaced by a rename, unlinked, linked, renamed or
    given other permissions is harmless: the bytes of the open file stay the same. On kernels before 6.13 a rewrite of
    equal length within one clock tick (up to 10 ms) of the opening leaves the times as they were and cannot be seen.
    """

    def __init__(self, fd: int) -> None:
        self._opened = os.fstat(fd)
        if not stat.S_ISREG(self._opened.st_mode):
            raise LocalError("a FileSource reads a regular file")
        self._fd = fd
        self._path_then = _path_of(fd)
        self._offset_bytes = 0

    @property
    def size_bytes(self) -> int:
        """The size that the file had when it was opened."""
        return self._opened.st_size

    def readv(self, views: Sequence[memoryview]) -> int:
        """Fill `views` with the next bytes; see `Source.readv`."""
        try:
            got = read_fully(self._read, views)
        except OSError as error:
            raise read_failed(error) from None
        self._offset_bytes += got
        if self._offset_bytes >= self.size_bytes:
            self.check_unchanged()
        return got

    def check_unchanged(self) -> None:
        """Raise TransferFailed (End.LOCAL_READ) if the file is no longer the one that was opened."""
        if self._offset_bytes > self.size_bytes or self._is_changed(os.fstat(self._fd)):
            raise _changed()

    def close(self) -> None:
        """Close the file; may be called twice."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def _read(self, batch: Sequence[memoryview], done: int) -> int:
        got = os.preadv(self._fd, batch, self._offset_bytes + done)
        if not got and self._offset_bytes + done < self.size_bytes:
            raise _changed()  # truncated: the end came before its time
        return got

    def _is_changed(self, now: os.stat_result) -> bool:
        then = self._opened
        if (now.st_size, now.st_mtime_ns) != (then.st_size, then.st_mtime_ns):
            return True
        if now.st_ctime_ns == then.st_ctime_ns:
            return False
        # The change time moves for names and permissions too; alone and unexplained it is a write whose
        # modification time was set back (rsync --inplace --times does that).
        if _about_the_inode(now) != _about_the_inode(then):
            return False
        return _path_of(self._fd) == self._path_then


def _changed() -> TransferFailed:
    return TransferFailed(End.LOCAL_READ, "the file was changed while it was being sent", ErrorCode.UNDEFINED)


def _about_the_inode(status: os.stat_result) -> tuple[int, int, int, int]:
    return status.st_nlink, status.st_mode, status.st_uid, status.st_gid


def _path_of(fd: int) -> str | None:
    try:
        return os.readlink(f"/proc/self/fd/{fd}")
    except OSError:
        return None


class NetasciiSource:
    """Another source as netascii (RFC 764, RFC 1350 section 1). Its wire size is known only at the end: it has none."""

    size_bytes = None
    _CHUNK_BYTES = 1 << 16

    def __init__(self, inner: Source) -> None:
        self._inner = inner
        self._encoder = Encoder()
        self._chunk = memoryview(bytearray(self._CHUNK_BYTES))
        self._encoded = memoryview(b"")
        self._ended = False

    def ready_bytes(self, wanted: int, wait_s: float = 0.0) -> int:
        """What has been encoded of what the source below can give without waiting; see `Unsteady`."""
        inner = self._inner
        while len(self._encoded) < wanted and not self._ended:
            ready = inner.ready_bytes(len(self._chunk), wait_s) if isinstance(inner, Unsteady) else len(self._chunk)
            if not ready:
                break
            self._encode(ready)
            wait_s = 0.0
        return wanted if self._ended else min(wanted, len(self._encoded))

    def readv(self, views: Sequence[memoryview]) -> int:
        """Fill `views` with encoded bytes; see `Source.readv`."""
        filled = 0
        for view in views:
            got = self._fill(view)
            filled += got
            if got < len(view):
                break
        return filled

    def close(self) -> None:
        """Close the source below."""
        self._inner.close()

    def _fill(self, view: memoryview) -> int:
        at = 0
        while at < len(view) and (self._encoded or self._encode_more()):
            count = min(len(view) - at, len(self._encoded))
            view[at : at + count] = self._encoded[:count]
            self._encoded = self._encoded[count:]
            at += count
        return at

    def _encode_more(self) -> bool:
        """Refill from below; False at the end. The end is known, and checked below, before its last bytes go out."""
        while not self._ended and not self._encoded:
            self._encode(len(self._chunk))
        return bool(self._encoded)

    def _encode(self, at_most_bytes: int) -> None:
        chunk = self._chunk[:at_most_bytes]
        got = self._inner.readv([chunk])
        self._ended = got < len(chunk)
        encoded = self._encoder.encode(chunk[:got]) + (self._encoder.finish() if self._ended else b"")
        self._encoded = memoryview(bytes(self._encoded) + encoded) if self._encoded else memoryview(encoded)


class NetasciiSink:
    """Takes netascii, hands the decoded bytes to another sink (RFC 764, RFC 1350 section 1)."""

    def __init__(self, inner: Sink) -> None:
        self._inner = inner
        self._decoder = Decoder()

    @property
    def bytes_written(self) -> int:
        """Decoded bytes that the sink below holds."""
        return self._inner.bytes_written

    def writev(self, views: Sequence[memoryview]) -> None:
        """Decode and append `views`; raises what the sink below raises."""
        self._put(self._decoder.decode(b"".join(views)))

    def commit(self) -> None:
        """Write what the decoder still held (a lone CR at the end) and commit below."""
        self._put(self._decoder.finish())
        self._inner.commit()

    def abort(self) -> None:
        """Abort below."""
        self._inner.abort()

    def _put(self, decoded: bytes) -> None:
        if decoded:
            self._inner.writev([memoryview(decoded)])
