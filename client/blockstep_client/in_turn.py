"""A host with several addresses: each is tried while none answers, all but the last for a few seconds only.

If the last cannot be reached at all, as where a network has no IPv6, one that was silent is tried again, for as long as
was meant: a server that is slow or restarting is not given up because its other address leads nowhere.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, Protocol, TypeVar

from blockstep.protocol.errors import End, TransferFailed
from blockstep_client.errors import CannotReach
from blockstep_client.resolve import Address

__all__ = ["Try", "first_answer"]

_Answer = TypeVar("_Answer")
_Answer_co = TypeVar("_Answer_co", covariant=True)

# How long a silent address keeps the next one waiting.
NEXT_AFTER_S: Final = 5.0


class Try(Protocol[_Answer_co]):
    """Tries one address."""

    def __call__(self, address: Address, at_most_s: float | None, *, tries_elsewhere: bool) -> _Answer_co:
        """For at most so long, None: as the user wants it. Raises CannotReach or TransferFailed for no answer."""


def first_answer(addresses: Sequence[Address], attempt: Try[_Answer], note: Callable[[str], None]) -> _Answer:
    """What the first address that answers has answered, or the failure of the last. `note` hears of the others."""
    *others, last = addresses
    silent: Address | None = None
    for address in others:
        try:
            return attempt(address, NEXT_AFTER_S, tries_elsewhere=True)
        except (CannotReach, TransferFailed) as failure:
            silent = address if _was_silent(failure) else silent
            note(f"{address}: {failure}")
    try:
        return attempt(last, None, tries_elsewhere=silent is not None)
    except (CannotReach, TransferFailed) as failure:
        if silent is None or _was_silent(failure):
            raise
        note(f"{last}: {failure}")
    return attempt(silent, None, tries_elsewhere=False)


def _was_silent(failure: CannotReach | TransferFailed) -> bool:
    """Whether it was silence, or nobody there. Raises what was an answer."""
    end = failure.end if isinstance(failure, TransferFailed) else End.PEER_GONE
    if end not in (End.TIMED_OUT, End.PEER_GONE):
        raise failure
    return end is End.TIMED_OUT
