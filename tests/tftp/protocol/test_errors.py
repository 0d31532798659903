from __future__ import annotations

import pickle

import pytest

from blockstep.protocol.errors import End, ErrorCode, LocalError, RemoteError, TftpError, TransferFailed


def test_the_codes_are_those_of_rfc_1350_and_rfc_2347() -> None:
    assert [(int(code), code.name) for code in ErrorCode] == [
        (0, "UNDEFINED"),
        (1, "FILE_NOT_FOUND"),
        (2, "ACCESS_VIOLATION"),
        (3, "DISK_FULL"),
        (4, "ILLEGAL_OPERATION"),
        (5, "UNKNOWN_TID"),
        (6, "FILE_EXISTS"),
        (7, "NO_SUCH_USER"),
        (8, "OPTION_REFUSED"),
    ]


@pytest.mark.parametrize("kind", [LocalError, RemoteError, TransferFailed])
def test_one_except_clause_catches_all_three_kinds(kind: type[Exception]) -> None:
    assert issubclass(kind, TftpError)


def test_blame_is_told_by_the_class_alone() -> None:
    kinds = [LocalError, RemoteError, TransferFailed]
    assert not any(issubclass(one, other) for one in kinds for other in kinds if one is not other)


def test_a_remote_error_carries_what_goes_on_the_wire() -> None:
    error = RemoteError(ErrorCode.ILLEGAL_OPERATION, "no such opcode")
    assert (error.code, str(error)) == (4, "no such opcode")


def test_a_failed_transfer_tells_how_it_ended() -> None:
    error = TransferFailed(End.PEER_ERROR, "file not found", 1)
    assert (error.end, error.code, error.detail, str(error)) == (End.PEER_ERROR, 1, "file not found", "file not found")
    assert TransferFailed(End.TIMED_OUT, "no answer").code is None


def test_every_end_can_stand_in_a_sentence() -> None:
    assert len({end.value for end in End}) == len(End)
    assert all(end.value == end.value.strip() and end.value[0].islower() for end in End)


def test_a_bare_error_survives_pickle() -> None:
    # test runners and process pools send exceptions between processes
    error = pickle.loads(pickle.dumps(LocalError("a bad argument")))
    assert isinstance(error, LocalError)
    assert str(error) == "a bad argument"
