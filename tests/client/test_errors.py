from __future__ import annotations

import pytest

from blockstep.exits import ExitCode
from blockstep.protocol.errors import End, LocalError, TransferFailed
from blockstep_client.errors import CannotReach, CannotResolve, NotTrusted, Stopped, exit_code


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (CannotResolve("x"), ExitCode.CANNOT_RESOLVE),
        (CannotReach("x"), ExitCode.REFUSED),
        (NotTrusted("x"), ExitCode.NOT_TRUSTED),
        (Stopped(2), ExitCode.INTERRUPTED),
        (Stopped(15), ExitCode.TERMINATED),
        (KeyboardInterrupt(), ExitCode.INTERRUPTED),
        (LocalError("x"), ExitCode.FAILED),
        (TransferFailed(End.TIMED_OUT, "x"), ExitCode.TIMED_OUT),
        (TransferFailed(End.PEER_ERROR, "x", 1), 68),
    ],
)
def test_exit_codes(error: BaseException, code: int) -> None:
    assert exit_code(error) == code
