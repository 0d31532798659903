from __future__ import annotations

import pytest

from blockstep.protocol.errors import ErrorCode, RemoteError
from blockstep.protocol.states import Role
from blockstep.protocol.stream_states import TABLE, StreamInput, StreamState, follow, matrix

MATRIX = """\
get         | asking   | data -> moving, oack -> moving, error -> refused, closed by the peer -> failed
get         | moving   | data -> moving, error -> failed, last block -> settling, closed by the peer -> failed
get         | settling | error -> failed, file in its place -> done, closed by the peer -> settling
get         | done     | -
get         | refused  | -
get         | failed   | -
put         | asking   | ack -> moving, oack -> moving, error -> refused, closed by the peer -> failed
put         | moving   | error -> failed, last block -> settling, closed by the peer -> failed
put         | settling | ack -> done, error -> failed, closed by the peer -> failed
put         | done     | -
put         | refused  | -
put         | failed   | -
"""
SERVED = """\
serve read  | asking   | -
serve read  | moving   | request -> moving, error -> failed, last block -> settling, closed by the peer -> failed
serve read  | settling | request -> settling, ack -> done, error -> failed, closed by the peer -> failed
serve read  | done     | -
serve read  | refused  | -
serve read  | failed   | -
serve write | asking   | -
serve write | moving   | request -> moving, data -> moving, error -> failed, last block -> settling, \
closed by the peer -> failed
serve write | settling | request -> settling, error -> failed, file in its place -> done, closed by the peer -> settling
serve write | done     | -
serve write | refused  | -
serve write | failed   | -
"""


def test_the_matrix_is_what_was_decided() -> None:
    assert matrix() == MATRIX + SERVED


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("state", StreamState)
@pytest.mark.parametrize("happened", StreamInput)
def test_what_is_not_in_the_table_is_an_offence(role: Role, state: StreamState, happened: StreamInput) -> None:
    following = TABLE[role].get(state, {}).get(happened)
    if following is not None:
        assert follow(role, state, happened) is following
        return
    with pytest.raises(RemoteError) as caught:
        follow(role, state, happened)
    assert caught.value.code is ErrorCode.ILLEGAL_OPERATION
    assert len(str(caught.value)) <= 59  # the whole ERROR packet has at most 64 octets


@pytest.mark.parametrize("role", Role)
def test_nothing_leads_out_of_an_end(role: Role) -> None:
    for state in (StreamState.DONE, StreamState.REFUSED, StreamState.FAILED):
        assert not TABLE[role].get(state)


@pytest.mark.parametrize("role", Role)
def test_an_error_or_a_closed_stream_never_ends_well(role: Role) -> None:
    for entries in TABLE[role].values():
        assert entries[StreamInput.ERROR] in (StreamState.FAILED, StreamState.REFUSED)
        assert entries[StreamInput.CLOSED] in (StreamState.FAILED, StreamState.SETTLING)
