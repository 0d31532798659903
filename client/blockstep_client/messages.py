"""For everything that can go wrong: one sentence that says what happened, and one that says what to do.

`explain` takes the error and the job and gives text for standard error or JSON. What the peer said stands in it in
quotation marks, and it was escaped before it got here (`TransferFailed.detail`, `RemoteError`), so no byte of a peer
reaches a terminal raw. The tables cover every `End` and every `ErrorCode`; a test holds them to that.
"""

from __future__ import annotations

import errno
from typing import Final

from blockstep.protocol.errors import End, ErrorCode, LocalError, RemoteError, TransferFailed
from blockstep.protocol.wire import printable_untrusted
from blockstep_client.address import Transport
from blockstep_client.errors import CannotReach, CannotResolve, ClientError, NotTrusted
from blockstep_client.jobs import Direction, Job

__all__ = ["explain"]

# What happened, and what to do: for a file that is fetched, and where it differs, for one that is sent.
_BY_CODE: Final[dict[ErrorCode, tuple[str, str]]] = {
    ErrorCode.UNDEFINED: ("the server gave up", "Its own log may say more."),
    ErrorCode.FILE_NOT_FOUND: (
        "the server has no such file",
        "Check the name: case counts, the path starts at the server's root, and TFTP cannot list what is there.",
    ),
    ErrorCode.ACCESS_VIOLATION: (
        "the server does not allow it",
        "On the server, the file must be a regular one below its root that it may read.",
    ),
    ErrorCode.DISK_FULL: ("the server has no room for it", "Free space there, or raise its limit for uploads."),
    ErrorCode.ILLEGAL_OPERATION: ("the server does not understand the request", "Try --no-options, or --mode octet."),
    ErrorCode.UNKNOWN_TID: (
        "the server does not know this transfer",
        "Try again; if it stays, a NAT or firewall on the way changes ports in mid-transfer.",
    ),
    ErrorCode.FILE_EXISTS: (
        "the server has a file of that name already",
        "Choose another name, or let the server replace files (blockstep serve --upload replace).",
    ),
    ErrorCode.NO_SUCH_USER: ("the server does not know the user", "TFTP knows no users; ask whoever runs the server."),
    ErrorCode.OPTION_REFUSED: ("the server refuses an option", "Try --no-options, or a smaller -b or -w."),
}

_BY_CODE_PUT: Final[dict[ErrorCode, tuple[str, str]]] = {
    ErrorCode.FILE_NOT_FOUND: (
        "the server will not make a new file of that name",
        "Its directory may be missing, or the server may only overwrite files that exist (tftpd-hpa without --create).",
    ),
    ErrorCode.ACCESS_VIOLATION: (
        "the server does not take this file",
        "Uploads may be off, or its directory not writable (blockstep serve --upload create, in.tftpd --create).",
    ),
}

_BY_END: Final[dict[End, tuple[str, str]]] = {
    End.TIMED_OUT: (
        "the server stopped answering",
        "Try again; on a slow or lossy path raise --timeout or --retries, and try a smaller -b.",
    ),
    End.MAX_TIME: ("the time limit is over", "Raise --max-time."),
    End.PEER_ERROR: _BY_CODE[ErrorCode.UNDEFINED],
    End.PEER_GONE: (
        "the server's end of the transfer is gone",
        "Try again; if it stays, the server crashes or restarts: its log may say why.",
    ),
    End.PEER_BROKE_RULES: (
        "the server broke the protocol",
        "Try --no-options; if it stays, the server is at fault, or something on the way changes packets.",
    ),
    End.REFUSED: ("the client refused to go on", "Try --no-options, or smaller values for -b and -w."),
    End.LOCAL_READ: ("the file cannot be read", "Check that it exists, is readable and does not change meanwhile."),
    End.LOCAL_WRITE: ("the file cannot be written", "Check the directory and the space on its disk."),
    End.STOPPED: ("stopped before it was complete", "Nothing incomplete was kept; run it again."),
}

_NEVER_ANSWERED: Final[dict[End, tuple[str, str]]] = {
    End.TIMED_OUT: (
        "no answer",
        "Check that a TFTP server runs there and on which port, and that firewalls let UDP from its other ports in.",
    ),
    End.PEER_GONE: (
        "nothing listens on that port",
        "Start the server, or name its port as HOST:PORT/PATH.",
    ),
}

# The same on a stream, with what it says of its end.
_ON_STREAM: Final[dict[End, tuple[str, str]]] = {
    End.TIMED_OUT: ("the server stands still", "Try again; on a slow path or a slow disk raise --timeout."),
    End.PEER_GONE: _BY_END[End.PEER_GONE],
}

_NEVER_ON_STREAM: Final[dict[Transport, tuple[str, str]]] = {
    Transport.TCP: (
        "no connection",
        "Check the address and its port, and that a server without TLS is there (blockstep serve --tcp PORT).",
    ),
    Transport.TLS: (
        "no connection",
        "Check that TLS is spoken there (blockstep serve --tls-cert FILE), and whether it wants a --cert of yours.",
    ),
    Transport.UNIX: (
        "no connection",
        "Check the path of the socket, its permissions, and that a server is there (blockstep serve --unix PATH).",
    ),
}

_BY_ERRNO: Final[dict[int, tuple[str, str]]] = {
    errno.ENOENT: ("no such file or directory", "Check the name."),
    errno.ENOTDIR: ("a part of the path is not a directory", "Check the name."),
    errno.EISDIR: ("it is a directory", "Name a file; TFTP moves files one by one."),
    errno.EACCES: ("permission denied", "Check its permissions, or use another directory."),
    errno.EPERM: ("not permitted", "Check its permissions and attributes, or use another directory."),
    errno.EROFS: ("the file system is read-only", "Write somewhere else with -o."),
    errno.ENOSPC: ("the disk is full", "Free some space, or write somewhere else with -o."),
    errno.EDQUOT: ("the disk quota is used up", "Free some space, or write somewhere else with -o."),
    errno.EFBIG: ("the file is too large for this place", "Check ulimit -f and the file system's limit."),
    errno.EEXIST: ("it exists already", "Leave --no-clobber out to replace it, or choose another name with -o."),
    errno.ENAMETOOLONG: ("the name is too long for this file system", "Choose a shorter one with -o."),
    errno.EMFILE: ("too many open files", "Raise ulimit -n."),
    errno.EIO: ("the device reports an error", "Check the disk (dmesg)."),
    errno.EPIPE: ("whoever reads the output is gone", "Check the command behind the pipe."),
}

_BY_NETWORK_ERRNO: Final[dict[int, tuple[str, str]]] = {
    errno.ENETUNREACH: ("no route to that network", "Check the network; -4 or -6 chooses the address family."),
    errno.EHOSTUNREACH: ("no route to that host", "Check the network; -4 or -6 chooses the address family."),
    errno.ENETDOWN: ("the network is down", "Bring the interface up."),
    errno.EACCES: ("the system does not let us send there", "Broadcast addresses and some firewalls are refused."),
    errno.EPERM: ("the system does not let us send there", "A local firewall rule rejects it."),
    errno.EINVAL: ("the address cannot be used as it stands", "A link-local one needs a zone: [fe80::1%eth0]:PATH."),
    errno.EADDRNOTAVAIL: ("the address cannot be used from here", "Check the network; -4 or -6 chooses the family."),
    errno.EAFNOSUPPORT: ("the system has no such address family", "Use the other one, with -4 or -6."),
    errno.EMSGSIZE: ("a packet is too large for the path", "Use a smaller -b."),
}


_ABOUT_US: Final = "Show one that its authority has signed, with --cert and --key."
_ABOUT_THE_SERVER: Final = "Name the authority that signed it with --cafile, and the host as the certificate does."


def explain(error: BaseException, job: Job, *, answered: bool) -> str:
    """One or two sentences, safe to print, that begin with the file's name.

    `answered`: whether anything had come from the server, because silence means something else before the first answer.
    """
    what, hint = _sentences(error, job, answered)
    whose = printable_untrusted(job.local, 120) if _is_local(error) else str(job.target)
    return f"{whose}: {what}. {hint}".rstrip()


def _is_local(error: BaseException) -> bool:
    return isinstance(error, TransferFailed) and error.end in (End.LOCAL_READ, End.LOCAL_WRITE)


def _sentences(error: BaseException, job: Job, answered: bool) -> tuple[str, str]:
    if isinstance(error, TransferFailed):
        return _of_failure(error, job, answered)
    if isinstance(error, RemoteError):
        what, hint = _BY_END[End.PEER_BROKE_RULES]
        return f"{what} ({error})", hint
    if isinstance(error, CannotResolve):
        return str(error), "Check the name, or write the address itself."
    if isinstance(error, CannotReach):
        return _of_errno(error.__cause__, _BY_NETWORK_ERRNO, (str(error), "Check the network."))
    if isinstance(error, NotTrusted):
        return str(error), _ABOUT_US if error.about_us else _ABOUT_THE_SERVER
    if isinstance(error, ClientError | LocalError):
        return str(error), ""
    return _BY_END[End.STOPPED]


def _of_failure(error: TransferFailed, job: Job, answered: bool) -> tuple[str, str]:
    if error.end is End.PEER_ERROR:
        return _of_code(error, job.direction)
    if error.end in (End.LOCAL_READ, End.LOCAL_WRITE):
        return _of_errno(error.__context__, _BY_ERRNO, (error.detail, _BY_END[error.end][1]))
    if job.target.transport is not Transport.UDP and error.end in _ON_STREAM:
        what, hint = _ON_STREAM[error.end] if answered else _NEVER_ON_STREAM[job.target.transport]
        return f"{what} ({error.detail})", hint
    if error.end is End.PEER_GONE and _network_errno(error):
        return _of_errno(
            error.__cause__ or error.__context__,
            _BY_NETWORK_ERRNO,
            (error.detail, _BY_NETWORK_ERRNO[errno.ENETUNREACH][1]),
        )
    table = _BY_END if answered else {**_BY_END, **_NEVER_ANSWERED}
    what, hint = table[error.end]
    detailed = error.end in (End.PEER_BROKE_RULES, End.REFUSED, End.TIMED_OUT)
    return (f"{what} ({error.detail})" if detailed else what), hint


def _network_errno(error: TransferFailed) -> bool:
    """Whether the way to the peer is at fault, rather than its port."""
    cause = error.__cause__ or error.__context__
    return isinstance(cause, OSError) and cause.errno != errno.ECONNREFUSED


def _of_code(error: TransferFailed, direction: Direction) -> tuple[str, str]:
    said = f' (error {error.code}: "{error.detail}")'
    try:
        code = ErrorCode(error.code or 0)
    except ValueError:
        return f"the server gave up with an error that no RFC defines{said}", _BY_CODE[ErrorCode.UNDEFINED][1]
    what, hint = _BY_CODE[code]
    if direction is Direction.PUT:
        what, hint = _BY_CODE_PUT.get(code, (what, hint))
    return f"{what}{said}", hint


def _of_errno(
    cause: BaseException | None, table: dict[int, tuple[str, str]], default: tuple[str, str]
) -> tuple[str, str]:
    if isinstance(cause, OSError) and cause.errno in table:
        return table[cause.errno]
    return default
