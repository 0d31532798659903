"""Every state of a transfer, every input, and what follows: one table for the four roles.

The machines move only through `follow`; a key that is missing is an offence of the peer, and the error says which. What
leaves the state as it is (a repeated request on a shared port, an old acknowledgement) stands here too, so that
"ignored" is a decision one can read and not an accident. `matrix` prints the table for the snapshot in the tests.
"""

from __future__ import annotations

from enum import Enum

from blockstep.protocol.errors import ErrorCode, RemoteError


class Role(Enum):
    """Who we are in a transfer."""

    GET = "get"
    PUT = "put"
    SERVE_READ = "serve read"
    SERVE_WRITE = "serve write"


class State(Enum):
    """Where a transfer stands."""

    ASKING = "asking"
    """Our request is out and nothing has come back."""
    OFFERED = "offered"
    """The peer's request is answered with OACK or ACK 0, and nothing has come back."""
    MOVING = "moving"
    """Blocks go one way, acknowledgements the other."""
    DALLYING = "dallying"
    """All is received and acknowledged; we stay in case the last ACK was lost (RFC 1350 section 6)."""
    DONE = "done"
    FAILED = "failed"


class Input(Enum):
    """What can happen to a transfer."""

    REQUEST = "request"
    DATA = "data"
    ACK = "ack"
    OACK = "oack"
    ERROR = "error"
    FIRST = "first progress"
    LAST = "last block settled"
    QUIET = "dallied long enough"
    GIVEN_UP = "given up"


_S, _I = State, Input
_ENDS = {_I.ERROR: _S.FAILED, _I.GIVEN_UP: _S.FAILED}

TABLE: dict[Role, dict[State, dict[Input, State]]] = {
    Role.GET: {
        _S.ASKING: {**_ENDS, _I.OACK: _S.MOVING, _I.DATA: _S.MOVING},
        # An OACK again means that our ACK 0 was lost.
        _S.MOVING: {**_ENDS, _I.DATA: _S.MOVING, _I.OACK: _S.MOVING, _I.LAST: _S.DALLYING},
        _S.DALLYING: {
            _I.DATA: _S.DALLYING,
            _I.OACK: _S.DALLYING,
            # The file is whole; a peer that has missed our last ACK and complains changes nothing of that.
            _I.ERROR: _S.DONE,
            _I.QUIET: _S.DONE,
        },
    },
    Role.PUT: {
        _S.ASKING: {**_ENDS, _I.OACK: _S.MOVING, _I.ACK: _S.MOVING},
        _S.MOVING: {**_ENDS, _I.ACK: _S.MOVING, _I.OACK: _S.MOVING, _I.LAST: _S.DONE},
    },
    Role.SERVE_READ: {
        # A request that is repeated reaches us only on a shared port; the timer sends the answer again.
        _S.OFFERED: {**_ENDS, _I.REQUEST: _S.OFFERED, _I.ACK: _S.OFFERED, _I.FIRST: _S.MOVING},
        _S.MOVING: {**_ENDS, _I.REQUEST: _S.MOVING, _I.ACK: _S.MOVING, _I.LAST: _S.DONE},
    },
    Role.SERVE_WRITE: {
        _S.OFFERED: {**_ENDS, _I.REQUEST: _S.OFFERED, _I.DATA: _S.OFFERED, _I.FIRST: _S.MOVING},
        _S.MOVING: {**_ENDS, _I.REQUEST: _S.MOVING, _I.DATA: _S.MOVING, _I.LAST: _S.DALLYING},
        _S.DALLYING: {
            # Whoever asks anew has had our last ACK.
            _I.REQUEST: _S.DONE,
            _I.DATA: _S.DALLYING,
            _I.ERROR: _S.DONE,
            _I.QUIET: _S.DONE,
        },
    },
}


def follow(role: Role, state: State, happened: Input) -> State:
    """The state after `happened`; RemoteError (code 4, illegal operation) where the table has no entry."""
    try:
        return TABLE[role][state][happened]
    except KeyError:
        message = f"{happened.value.upper()} is not allowed while {state.value}"
        raise RemoteError(ErrorCode.ILLEGAL_OPERATION, message) from None


def matrix() -> str:
    """The whole table as text, a line for each role and state."""
    lines = []
    for role, states in TABLE.items():
        for state in State:
            entries = states.get(state, {})
            cells = ", ".join(f"{what.value} -> {entries[what].value}" for what in Input if what in entries)
            lines.append(f"{role.value:11} | {state.value:8} | {cells or '-'}")
    return "\n".join(lines) + "\n"
