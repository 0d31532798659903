"""Every state of a transfer on a stream, every input, and what follows: the table beside that of `states`.

It is the smaller one, because the kernel repeats what is lost: nothing is dallied for, nothing is old or twice, so
whatever does not come in its turn is an offence. A missing key is the error. `matrix` prints the table for the snapshot
in the tests.
"""

from __future__ import annotations

from enum import Enum

from blockstep.protocol.errors import ErrorCode, RemoteError
from blockstep.protocol.states import Role

__all__ = ["TABLE", "StreamInput", "StreamState", "follow", "matrix"]


class StreamState(Enum):
    """Where a transfer on a stream stands."""

    ASKING = "asking"
    """Our request is out and nothing has come back."""
    MOVING = "moving"
    """Blocks go one way, nothing goes the other."""
    SETTLING = "settling"
    """The last block is out or in; it becomes a file now, and one ACK says so."""
    DONE = "done"
    REFUSED = "refused"
    """Our request was answered with ERROR: this transfer is over, the connection goes on."""
    FAILED = "failed"
    """Over, and the connection with it: nobody can say what of the transfer is still on its way."""


class StreamInput(Enum):
    """What can happen to a transfer on a stream."""

    REQUEST = "request"
    DATA = "data"
    ACK = "ack"
    OACK = "oack"
    ERROR = "error"
    LAST = "last block"
    SETTLED = "file in its place"
    CLOSED = "closed by the peer"


_S, _I = StreamState, StreamInput
_ENDS = {_I.ERROR: _S.FAILED, _I.CLOSED: _S.FAILED}
# All of the file is here: whether the peer stays for our ACK is its own affair, what it complains of is not.
_HERE = {_I.ERROR: _S.FAILED, _I.CLOSED: _S.SETTLING, _I.SETTLED: _S.DONE}

TABLE: dict[Role, dict[StreamState, dict[StreamInput, StreamState]]] = {
    Role.GET: {
        _S.ASKING: {_I.OACK: _S.MOVING, _I.DATA: _S.MOVING, _I.ERROR: _S.REFUSED, _I.CLOSED: _S.FAILED},
        _S.MOVING: {**_ENDS, _I.DATA: _S.MOVING, _I.LAST: _S.SETTLING},
        _S.SETTLING: _HERE,
    },
    Role.PUT: {
        _S.ASKING: {_I.OACK: _S.MOVING, _I.ACK: _S.MOVING, _I.ERROR: _S.REFUSED, _I.CLOSED: _S.FAILED},
        _S.MOVING: {**_ENDS, _I.LAST: _S.SETTLING},
        _S.SETTLING: {**_ENDS, _I.ACK: _S.DONE},
    },
    # Requests that come before their turn wait for it.
    Role.SERVE_READ: {
        _S.MOVING: {**_ENDS, _I.REQUEST: _S.MOVING, _I.LAST: _S.SETTLING},
        _S.SETTLING: {**_ENDS, _I.REQUEST: _S.SETTLING, _I.ACK: _S.DONE},
    },
    Role.SERVE_WRITE: {
        _S.MOVING: {**_ENDS, _I.REQUEST: _S.MOVING, _I.DATA: _S.MOVING, _I.LAST: _S.SETTLING},
        _S.SETTLING: {**_HERE, _I.REQUEST: _S.SETTLING},
    },
}


def follow(role: Role, state: StreamState, happened: StreamInput) -> StreamState:
    """The state after `happened`; RemoteError (code 4, illegal operation) where the table has no entry."""
    following = TABLE[role].get(state, {}).get(happened)
    if following is None:
        raise RemoteError(ErrorCode.ILLEGAL_OPERATION, f"{happened.value.upper()} is not allowed while {state.value}")
    return following


def matrix() -> str:
    """The whole table as text, a line for each role and state."""
    lines = []
    for role, states in TABLE.items():
        for state in StreamState:
            entries = states.get(state, {})
            cells = ", ".join(f"{what.value} -> {entries[what].value}" for what in StreamInput if what in entries)
            lines.append(f"{role.value:11} | {state.value:8} | {cells or '-'}")
    return "\n".join(lines) + "\n"
