from __future__ import annotations

import os
import subprocess
import sys

from hypothesis import given
from hypothesis import strategies as st

from blockstep_server.board import Board, Live, Slot

FACTS = {"op": "read", "mode": "octet", "options": {"blksize": 1428}}


def taken(board: Board) -> Slot:
    slot = board.maybe_take()
    assert slot is not None
    return slot


FORKED = """
import os
from blockstep_server.board import Board
slot = Board(4).maybe_take()
if os.fork() == 0:
    slot.begin("file", {"op": "read"}, 12.5)
    slot.progress(1 << 40, 7)
    os._exit(0)
os.wait()
print(slot.maybe_live())
"""


def test_a_child_writes_what_its_parent_reads() -> None:
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", FORKED], env=environ, capture_output=True, text=True, check=True)
    facts = {"op": "read", "file": "file"}
    assert done.stdout == f"{Live(facts, payload_bytes=1 << 40, resends=7, started_s=12.5)}\n"


def test_between_transfers_nothing_is_under_way() -> None:
    slot = taken(Board(1))
    states = [(slot.idle, slot.maybe_live() is None)]
    slot.begin("file", FACTS, 0.0)
    states.append((slot.idle, slot.maybe_live() is None))
    slot.end()
    states.append((slot.idle, slot.maybe_live() is None))
    assert states == [(True, True), (False, False), (True, True)]


def test_a_second_transfer_starts_from_nothing() -> None:
    slot = taken(Board(1))
    slot.begin("first", FACTS, 0.0)
    slot.progress(100, 1)
    slot.begin("second", FACTS, 1.0)
    live = slot.maybe_live()
    assert live is not None
    assert (live.facts["file"], live.payload_bytes, live.resends) == ("second", 0, 0)


def test_slots_do_not_touch_each_other_and_are_used_again() -> None:
    board = Board(3)
    slots = [taken(board) for _ in range(3)]
    assert board.maybe_take() is None
    for number, slot in enumerate(slots):
        slot.begin("x" * 2000, FACTS, float(number))
        slot.progress(number, number)
    lives = [slot.maybe_live() for slot in slots]
    assert [live and live.payload_bytes for live in lives] == [0, 1, 2]
    board.give_back(slots[1])
    board.give_back(None)
    again = taken(board)
    assert again.index == slots[1].index
    assert again.idle


@given(st.text(max_size=600))
def test_any_name_fits_or_is_cut(name: str) -> None:
    slot = taken(Board(2))
    slot.begin(name, FACTS, 0.0)
    live = slot.maybe_live()
    assert live is not None
    assert isinstance(live.facts["file"], str)
    assert name.startswith(live.facts["file"])


@given(st.binary(min_size=1024, max_size=1024))
def test_whatever_a_child_writes_is_no_error(rubbish: bytes) -> None:
    board = Board(1)
    slot = taken(board)
    slot.begin("file", FACTS, 0.0)
    board._memory[:] = rubbish
    live = slot.maybe_live()
    assert live is None or isinstance(live.facts, dict)


def test_a_proof_belongs_to_one_child() -> None:
    board = Board(1)
    slot = taken(board)
    seen = [slot.proven]
    slot.prove()
    slot.begin("x" * 2000, FACTS, 1.0)  # nothing that is told of the transfer touches it
    seen.append(slot.proven)
    board.give_back(slot)
    seen.append(taken(board).proven)
    assert seen == [False, True, False]


def test_who_has_a_slot_next_finds_nothing_of_the_one_before() -> None:
    board = Board(1)
    slot = taken(board)
    slot.prove()
    slot.settle(7)
    slot.leave(b"\0\1file\0octet\0")
    assert (slot.proven, slot.settled, slot.heard_ns, slot.left) == (True, True, 7, b"\0\1file\0octet\0")
    assert slot.idle
    board.give_back(slot)
    again = taken(board)
    assert (again.proven, again.settled, again.heard_ns, again.left) == (False, False, 0, b"")


def test_what_is_left_may_be_as_long_as_a_request_may_be_and_is_never_cut() -> None:
    slot = taken(Board(1))
    for size, kept in ((512, 512), (970, 970), (2048, 0)):
        slot.clear()
        slot.leave(bytes(size))
        assert len(slot.left) == kept
