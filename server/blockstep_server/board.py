"""How far every transfer is: one slot for each child in memory that all of them share.

A child writes, the supervisor reads when somebody asks, and neither waits for the other; so a transfer costs nobody a
system call to be watched. Rules: a slot belongs to one child from its fork until it has been waited for. Its text says
what is under way and is empty while nothing is; after the end there may be a datagram that the child has left to
others. A slot that is read in the middle of a write may show old counters or no text, never an error: whatever a child
writes is taken as untrusted. More children than slots go unwatched.
"""

from __future__ import annotations

import json
import mmap
import struct
from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["Board", "Live", "Slot"]

_SLOT_BYTES = 1024
_HEAD = struct.Struct("@QQdI")  # payload bytes, resends, start on the monotonic clock, bytes of the text that follows
_COUNTERS = struct.Struct("@QQ")
_TEXT_LENGTH = struct.Struct("@I")
_TEXT_LENGTH_AT = _HEAD.size - _TEXT_LENGTH.size
_PROVEN_AT = _SLOT_BYTES - 1
_SETTLED_AT = _SLOT_BYTES - 2
_LEFT_LENGTH = struct.Struct("@H")
_LEFT_LENGTH_AT = _SLOT_BYTES - 4
_HEARD_NS = struct.Struct("@Q")
_HEARD_NS_AT = _SLOT_BYTES - 16
_TEXT_BYTES = _HEARD_NS_AT - _HEAD.size
_SLOTS_MOST = 65536


@dataclass(frozen=True, slots=True)
class Live:
    """A transfer under way. `facts` are the child's words: names and texts, not checked by anybody."""

    facts: Mapping[str, object]
    payload_bytes: int
    resends: int
    started_s: float


class Slot:
    """The place of one child."""

    __slots__ = ("_memory", "_start", "index")

    def __init__(self, memory: mmap.mmap, index: int) -> None:
        self.index = index
        self._memory = memory
        self._start = index * _SLOT_BYTES

    def begin(self, file: str, facts: Mapping[str, object], now: float) -> None:
        """A transfer is under way since `now`. A name that is too long for the slot is cut."""
        text = b""
        for longest in (None, 64, 0):  # in JSON one character of a name may take 12 bytes
            text = json.dumps({**facts, "file": file[:longest]}).encode()
            if len(text) <= _TEXT_BYTES:
                break
        self.end()
        self._memory[self._start + _HEAD.size : self._start + _HEAD.size + len(text)] = text
        _HEAD.pack_into(self._memory, self._start, 0, 0, now, len(text))

    def progress(self, payload_bytes: int, resends: int) -> None:
        """How far it is: what `blockstep.transport.pump.Progress` tells."""
        _COUNTERS.pack_into(self._memory, self._start, payload_bytes, resends)

    def prove(self) -> None:
        """The peer has answered to what only it can have seen: it is where its packets say."""
        self._memory[self._start + _PROVEN_AT] = 1

    @property
    def proven(self) -> bool:
        """Whether `prove` was called since the slot was taken."""
        return self._memory[self._start + _PROVEN_AT] != 0

    def settle(self, heard_ns: int) -> None:
        """Nothing more is wanted of the peer, whose last datagram came at `heard_ns` (0: none came)."""
        _HEARD_NS.pack_into(self._memory, self._start + _HEARD_NS_AT, heard_ns & (1 << 64) - 1)
        self._memory[self._start + _SETTLED_AT] = 1

    @property
    def settled(self) -> bool:
        """Whether `settle` was called since the slot was taken."""
        return self._memory[self._start + _SETTLED_AT] != 0

    @property
    def heard_ns(self) -> int:
        """When the peer's last datagram came, as the child has said."""
        return int(_HEARD_NS.unpack_from(self._memory, self._start + _HEARD_NS_AT)[0])

    def leave(self, datagram_untrusted: bytes) -> None:
        """Leave a datagram behind, for when we have been waited for; one that is too long for the slot is lost."""
        self.end()
        if len(datagram_untrusted) <= _TEXT_BYTES:
            start = self._start + _HEAD.size
            self._memory[start : start + len(datagram_untrusted)] = datagram_untrusted
            _LEFT_LENGTH.pack_into(self._memory, self._start + _LEFT_LENGTH_AT, len(datagram_untrusted))

    @property
    def left(self) -> bytes:
        """The datagram that was left behind, b"" if none was."""
        (length,) = _LEFT_LENGTH.unpack_from(self._memory, self._start + _LEFT_LENGTH_AT)
        start = self._start + _HEAD.size
        return bytes(self._memory[start : start + min(length, _TEXT_BYTES)])

    def clear(self) -> None:
        """As new."""
        self._memory[self._start + _HEARD_NS_AT : self._start + _SLOT_BYTES] = bytes(_SLOT_BYTES - _HEARD_NS_AT)
        self.end()

    def end(self) -> None:
        """Nothing is under way."""
        _TEXT_LENGTH.pack_into(self._memory, self._start + _TEXT_LENGTH_AT, 0)

    @property
    def idle(self) -> bool:
        """True while nothing is under way."""
        return _TEXT_LENGTH.unpack_from(self._memory, self._start + _TEXT_LENGTH_AT) == (0,)

    def maybe_live(self) -> Live | None:
        """What is under way, None if nothing is or it cannot be told just now."""
        payload_bytes, resends, started_s, length = _HEAD.unpack_from(self._memory, self._start)
        if not 0 < length <= _TEXT_BYTES:
            return None
        start = self._start + _HEAD.size
        try:
            facts = json.loads(self._memory[start : start + length])
        except (ValueError, RecursionError):
            return None
        return Live(facts, payload_bytes, resends, started_s) if isinstance(facts, dict) else None


class Board:
    """All slots of one supervisor; memory is used only where a slot has been."""

    def __init__(self, slots: int) -> None:
        self._most = min(slots, _SLOTS_MOST)
        self._memory = mmap.mmap(-1, max(1, self._most) * _SLOT_BYTES)
        self._returned: list[Slot] = []
        self._made = 0

    def maybe_take(self) -> Slot | None:
        """A slot that nobody has, idle; None when there is no more."""
        if self._returned:
            slot = self._returned.pop()
            slot.clear()
            return slot
        if self._made == self._most:
            return None
        self._made += 1
        return Slot(self._memory, self._made - 1)

    def give_back(self, slot: Slot | None) -> None:
        """The child of this slot has been waited for."""
        if slot is not None:
            self._returned.append(slot)
