"""Who may create what: the one decision about uploads, and the sink that follows from it.

`none` is the default: a TFTP client shows no identity, so a server that takes files takes them from anybody. `create`
takes new names only, `replace` also the name of a regular file that the server's user may write. How a name becomes a
directory is known to `paths`, how a file appears whole to `blockstep.transport.atomic`.
"""

from __future__ import annotations

import os
from enum import Enum

from blockstep.protocol.errors import End, ErrorCode, RemoteError, TransferFailed
from blockstep.transport.atomic import AtomicFileSink
from blockstep_server.paths import Root

__all__ = ["UploadPolicy", "open_upload"]


class UploadPolicy(Enum):
    """What a write request may do."""

    NONE = "none"
    CREATE = "create"
    REPLACE = "replace"


def open_upload(
    root: Root,
    name_untrusted: str,
    policy: UploadPolicy,
    *,
    expected_bytes: int | None = None,
    max_bytes: int | None = None,
) -> AtomicFileSink:
    """The sink for a write request, or RemoteError with the code for the peer, before a byte of data has come.

    `expected_bytes` is the tsize that the client stated (RFC 2349) for octet mode: over `max_bytes`, or more than the
    disk has room for, is refused at once with DISK_FULL.
    """
    if policy is UploadPolicy.NONE:
        raise RemoteError(ErrorCode.ACCESS_VIOLATION, "this server takes no uploads")
    dir_fd, name = root.open_parent_for_writing(name_untrusted)
    try:
        return AtomicFileSink(
            dir_fd,
            name,
            replace=policy is UploadPolicy.REPLACE,
            expected_bytes=expected_bytes,
            max_bytes=max_bytes,
        )
    except TransferFailed as failure:
        if failure.end is not End.LOCAL_WRITE:
            raise  # the server is stopping, at this very moment
        raise RemoteError(ErrorCode(failure.code or 0), failure.detail) from None
    finally:
        os.close(dir_fd)
