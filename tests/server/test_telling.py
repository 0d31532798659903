from __future__ import annotations

from blockstep_server.board import Board
from blockstep_server.report import Result, TransferRecord
from blockstep_server.telling import Telling

RECORD = TransferRecord(peer="peer", op="read", file="file", mode="octet", options={"blksize": 1428})


def test_what_is_under_way_stands_on_the_board_until_it_has_ended() -> None:
    told: list[tuple[TransferRecord, bool]] = []
    slot = Board(1).maybe_take()
    assert slot is not None
    telling = Telling(lambda record: told.append((record, slot.idle)), slot)
    telling.began(RECORD)
    telling.progress(1000, 2)
    live = slot.maybe_live()
    assert live is not None
    assert live.facts == {"op": "read", "file": "file", "mode": "octet", "options": {"blksize": 1428}}
    assert (live.payload_bytes, live.resends) == (1000, 2)
    telling.ended(RECORD)
    assert told == [(RECORD, True)], "who hears of the end must find nothing under way"


def test_without_a_slot_only_the_end_is_told() -> None:
    told: list[Result] = []
    telling = Telling(lambda record: told.append(record.result))
    telling.began(RECORD)
    telling.progress(1, 0)
    telling.ended(RECORD)
    assert told == [Result.CRASHED]
