"""What can go wrong, as a closed list.

Three kinds, so that a caller knows whom to blame without reading text: `LocalError` (our own caller broke a rule),
`RemoteError` (the peer did; it carries the code that goes on the wire) and `TransferFailed` (a transfer ended without
its file; `end` says how). Nothing here knows sockets, files or exit codes.
"""

from __future__ import annotations

from enum import Enum, IntEnum


class ErrorCode(IntEnum):
    """TFTP error codes (RFC 1350 appendix, RFC 2347 section 3 for 8)."""

    UNDEFINED = 0
    FILE_NOT_FOUND = 1
    ACCESS_VIOLATION = 2
    DISK_FULL = 3
    ILLEGAL_OPERATION = 4
    UNKNOWN_TID = 5
    FILE_EXISTS = 6
    NO_SUCH_USER = 7
    OPTION_REFUSED = 8


class End(Enum):
    """How a transfer that did not deliver its file ended."""

    TIMED_OUT = "timed out"
    MAX_TIME = "over the time limit"
    PEER_ERROR = "the peer sent an error"
    PEER_GONE = "the peer's port is closed"
    PEER_BROKE_RULES = "the peer broke the protocol"
    REFUSED = "refused by us"
    LOCAL_READ = "reading the file failed"
    LOCAL_WRITE = "writing the file failed"
    STOPPED = "stopped"


class TftpError(Exception):
    """Base of everything that this package raises on purpose."""


class LocalError(TftpError):
    """Our caller broke the rules: a bad argument, or a call that the state does not allow."""


class RemoteError(TftpError):
    """The peer broke the rules.

    `code` is what the ERROR packet to the peer carries; `str(error)` is its text, safe to send and to print.
    """

    def __init__(self, code: ErrorCode, message: str) -> None:
        super().__init__(message)
        self.code = code


class TransferFailed(TftpError):
    """A transfer ended without its file.

    `end` says how, `code` is the TFTP error code sent or received (None if there was none) and `detail` is a sentence
    that is safe to print: text from the peer has been escaped before it gets here.
    """

    def __init__(self, end: End, detail: str, code: int | None = None) -> None:
        super().__init__(detail)
        self.end = end
        self.code = code
        self.detail = detail
