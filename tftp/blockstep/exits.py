"""The one place for exit codes.

They follow curl, click and the shells, so that a script knows them already: 0, 2 usage, 6 resolve, 7 refused, 23 and 26
local write and read, 28 timeout, 45 cannot bind, 60 certificate not trusted, 67 + n for TFTP error n, 128 + signal.
"""

from __future__ import annotations

from enum import IntEnum

from blockstep.protocol.errors import End, RemoteError, TransferFailed

__all__ = ["ExitCode", "exit_code_of"]


class ExitCode(IntEnum):
    """Exit codes that do not depend on a TFTP error code."""

    OK = 0
    FAILED = 1
    USAGE = 2
    CANNOT_RESOLVE = 6
    REFUSED = 7
    LOCAL_WRITE = 23
    LOCAL_READ = 26
    TIMED_OUT = 28
    CANNOT_BIND = 45
    NOT_TRUSTED = 60
    TFTP_ERROR = 67
    INTERRUPTED = 130
    TERMINATED = 143


_BY_END = {
    End.TIMED_OUT: ExitCode.TIMED_OUT,
    End.MAX_TIME: ExitCode.TIMED_OUT,
    End.PEER_GONE: ExitCode.REFUSED,
    End.LOCAL_READ: ExitCode.LOCAL_READ,
    End.LOCAL_WRITE: ExitCode.LOCAL_WRITE,
    End.STOPPED: ExitCode.INTERRUPTED,
}


def exit_code_of(error: BaseException) -> int:
    """The exit code (0-255) for the way a command ended.

    A TFTP error code from 0 to 8 maps to 67 + code (so "file not found" is 68), as curl does; larger codes to 67.
    """
    if isinstance(error, KeyboardInterrupt):
        return ExitCode.INTERRUPTED
    if isinstance(error, TransferFailed) and error.end in _BY_END:
        return _BY_END[error.end]
    if isinstance(error, TransferFailed | RemoteError):
        code = error.code or 0
        return ExitCode.TFTP_ERROR + (code if code <= 8 else 0)
    return ExitCode.FAILED
