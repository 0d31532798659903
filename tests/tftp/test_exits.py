from __future__ import annotations

import pytest

from blockstep.exits import ExitCode, exit_code_of
from blockstep.protocol.errors import End, ErrorCode, LocalError, RemoteError, TftpError, TransferFailed


@pytest.mark.parametrize(
    ("end", "expected"),
    [
        (End.TIMED_OUT, 28),
        (End.MAX_TIME, 28),
        (End.PEER_GONE, 7),
        (End.LOCAL_READ, 26),
        (End.LOCAL_WRITE, 23),
        (End.STOPPED, 130),
    ],
)
def test_an_end_without_a_tftp_error_has_the_number_that_curl_gives_it(end: End, expected: int) -> None:
    assert exit_code_of(TransferFailed(end, "why")) == expected


def test_the_end_wins_over_the_code_that_was_sent_to_the_peer() -> None:
    assert exit_code_of(TransferFailed(End.LOCAL_WRITE, "disk full", ErrorCode.DISK_FULL)) == ExitCode.LOCAL_WRITE


@pytest.mark.parametrize("code", list(ErrorCode))
def test_a_tftp_error_is_67_plus_its_code(code: ErrorCode) -> None:
    assert exit_code_of(TransferFailed(End.PEER_ERROR, "why", code)) == 67 + code
    assert exit_code_of(RemoteError(code, "why")) == 67 + code


@pytest.mark.parametrize("code", [None, 9, 188, 65535])
def test_a_code_that_no_rfc_names_is_67(code: int | None) -> None:
    assert exit_code_of(TransferFailed(End.PEER_ERROR, "why", code)) == 67


def test_every_end_has_an_exit_code_of_its_own_making() -> None:
    for end in End:
        assert 0 < exit_code_of(TransferFailed(end, "why")) < 256
        assert exit_code_of(TransferFailed(end, "why")) != ExitCode.FAILED


def test_the_rest() -> None:
    assert exit_code_of(KeyboardInterrupt()) == ExitCode.INTERRUPTED == 128 + 2
    assert ExitCode.TERMINATED == 128 + 15
    assert exit_code_of(LocalError("why")) == ExitCode.FAILED
    assert exit_code_of(TftpError("why")) == ExitCode.FAILED
    assert exit_code_of(ValueError("a bug")) == ExitCode.FAILED
