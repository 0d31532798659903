"""What can go wrong in a client before or beside the transfer itself. The exit code is a class attribute."""

from __future__ import annotations

from typing import ClassVar

from blockstep.exits import ExitCode, exit_code_of
from blockstep.protocol.errors import TftpError

__all__ = ["CannotReach", "CannotResolve", "ClientError", "NotTrusted", "Stopped", "exit_code"]


class ClientError(TftpError):
    """Base; the text is safe to print."""

    exit_code: ClassVar[int] = ExitCode.FAILED


class CannotResolve(ClientError):
    """The host's name has no address, or none of the wanted family."""

    exit_code: ClassVar[int] = ExitCode.CANNOT_RESOLVE


class CannotReach(ClientError):
    """The operating system would not send to the host: no route, not permitted. The cause is the OSError."""

    exit_code: ClassVar[int] = ExitCode.REFUSED


class NotTrusted(ClientError):
    """A certificate is not good enough: the server's for us, or ours for the server (`about_us`)."""

    exit_code: ClassVar[int] = ExitCode.NOT_TRUSTED

    def __init__(self, text: str, *, about_us: bool = False) -> None:
        super().__init__(text)
        self.about_us = about_us


class Stopped(BaseException):
    """A signal asked the client to stop. Not an Exception, so that nothing on the way takes it for a failure."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(signal_number)
        self.exit_code = 128 + signal_number


def exit_code(error: BaseException) -> int:
    """The exit code (0-255) for an error of the client or of a transfer."""
    return error.exit_code if isinstance(error, ClientError | Stopped) else exit_code_of(error)
