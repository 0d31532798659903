from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from blockstep_server.admission import Admission, Claim, Policy
from blockstep_server.board import Board, Slot
from blockstep_server.child import Body
from blockstep_server.children import Child, Task
from blockstep_server.config import ServerConfig
from blockstep_server.report import Result, TransferRecord
from blockstep_server.status_report import describe
from blockstep_server.supervisor import Phase
from blockstep_server.tally import Tally

CONFIG = ServerConfig(root=Path("/srv/tftp"))


class FakeSupervisor:
    """What `describe` looks at, at 100 s on its clock."""

    phase = Phase.SERVING
    started_s = 40.0

    def __init__(self, *children: Child) -> None:
        self.children = children
        self.admission = Admission(Policy(max_sessions=10))
        self.tally = Tally()

    def clock(self) -> float:
        return 100.0


def described(*children: Child) -> dict[str, Any]:
    supervisor = FakeSupervisor(*children)
    supervisor.tally.add(TransferRecord(peer="p", op="read", result=Result.COMPLETE, payload_bytes=5))
    answer = describe(supervisor, CONFIG, ["127.0.0.1:69 (udp)"])  # type: ignore[arg-type]
    again: dict[str, Any] = json.loads(json.dumps(answer))
    return again


def child(pid: int, slot: Slot | None) -> Child:
    body: Body = lambda _telling: None  # noqa: E731 - it is never run
    blank = TransferRecord(peer="192.0.2.1:5", local="192.0.2.9:69", transport="tcp")
    return Child(pid, Task(Claim("source", pid), body, blank, is_connection=True), 0.0, slot)


def taken(board: Board) -> Slot:
    slot = board.maybe_take()
    assert slot is not None
    return slot


def test_it_says_what_the_server_is() -> None:
    answer = described()
    expected = {"phase": "serving", "uptime_s": 60.0, "root": "/srv/tftp", "places": 0, "transfers": []}
    assert {key: answer[key] for key in expected} == expected
    assert answer["listening"] == ["127.0.0.1:69 (udp)"]
    assert answer["limits"]["max-sessions"] == 1000
    assert (answer["totals"]["requests"], answer["totals"]["bytes"]) == (1, 5)


def test_it_lists_what_is_under_way_and_nobody_who_waits() -> None:
    board = Board(2)
    busy, idle = taken(board), taken(board)
    busy.begin("file", {"op": "read", "mode": "octet", "options": {"blksize": 1428}}, 98.0)
    busy.progress(1000, 3)
    (transfer,) = described(child(7, busy), child(8, idle), child(9, None))["transfers"]
    assert transfer == {
        "pid": 7,
        "peer": "192.0.2.1:5",
        "local": "192.0.2.9:69",
        "transport": "tcp",
        "op": "read",
        "file": "file",
        "mode": "octet",
        "options": {"blksize": 1428},
        "bytes": 1000,
        "resends": 3,
        "seconds": 2.0,
        "bytes_per_s": 500,
    }


def test_what_a_child_says_is_not_believed() -> None:
    slot = taken(Board(1))
    slot.begin("f" * 700, {"op": ["x"], "options": {"a": "b", "c": True, "d" * 90: 5}}, 200.0)
    (transfer,) = described(child(7, slot))["transfers"]
    assert (transfer["op"], transfer["mode"], len(transfer["file"])) == ("", "", 512)
    assert transfer["options"] == {"d" * 32: 5}
    assert (transfer["seconds"], transfer["bytes_per_s"]) == (0.0, 0)


def test_the_list_has_an_end() -> None:
    board = Board(1100)
    children = []
    for number in range(1100):
        slot = taken(board)
        slot.begin("file", {}, 0.0)
        children.append(child(number, slot))
    assert len(described(*children)["transfers"]) == 1000
