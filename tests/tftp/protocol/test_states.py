from __future__ import annotations

import itertools
import os
from pathlib import Path

import pytest

from blockstep.protocol.errors import ErrorCode, RemoteError
from blockstep.protocol.states import TABLE, Input, Role, State, follow, matrix

SNAPSHOT = Path(__file__).with_name("states.snapshot.txt")
ENDS = {State.DONE, State.FAILED}
# what the peer's packets can cause; the other inputs come from the machines themselves
FROM_THE_PEER = {Input.REQUEST, Input.DATA, Input.ACK, Input.OACK, Input.ERROR}
EVERYTHING = list(itertools.product(Role, State, Input))


def test_the_matrix_is_the_one_that_was_reviewed() -> None:
    if os.environ.get("BLOCKSTEP_UPDATE_SNAPSHOTS"):
        SNAPSHOT.write_text(matrix())
    assert matrix() == SNAPSHOT.read_text(), "if the change is meant: BLOCKSTEP_UPDATE_SNAPSHOTS=1 and review the diff"


@pytest.mark.parametrize("role", Role)
def test_every_state_and_input_has_a_next_state_or_is_the_peers_offence(role: Role) -> None:
    for state, happened in itertools.product(State, Input):
        expected = TABLE[role].get(state, {}).get(happened)
        if expected is not None:
            assert follow(role, state, happened) is expected
            continue
        with pytest.raises(RemoteError) as caught:
            follow(role, state, happened)
        assert caught.value.code is ErrorCode.ILLEGAL_OPERATION
        assert str(caught.value) == f"{happened.value.upper()} is not allowed while {state.value}"


def test_nothing_leads_out_of_an_end() -> None:
    assert not [(role, state) for role, state, _ in EVERYTHING if state in ENDS and TABLE[role].get(state)]


def test_an_error_ends_every_transfer_and_a_whole_file_ends_well() -> None:
    for role, states in TABLE.items():
        for state, entries in states.items():
            expected = State.DONE if state is State.DALLYING else State.FAILED
            assert entries[Input.ERROR] is expected, (role, state)


def test_only_a_file_that_is_whole_ends_well() -> None:
    for role, state, happened in EVERYTHING:
        if TABLE[role].get(state, {}).get(happened) is State.DONE:
            assert state is State.DALLYING or happened is Input.LAST, (role, state, happened)


def test_the_peer_alone_cannot_make_a_file_whole() -> None:
    for role, state, happened in EVERYTHING:
        after = TABLE[role].get(state, {}).get(happened)
        if happened in FROM_THE_PEER and state is not State.DALLYING:
            assert after not in (State.DONE, State.DALLYING), (role, state, happened)


def test_every_state_that_a_role_can_reach_has_a_way_to_an_end() -> None:
    for role, states in TABLE.items():
        for state in states:
            seen, todo = set(), [state]
            while todo:
                current = todo.pop()
                seen.add(current)
                todo += set(states.get(current, {}).values()) - seen
            assert seen & ENDS, (role, state)
