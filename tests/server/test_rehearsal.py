from __future__ import annotations

import socket
import time
from typing import Any

import pytest

from blockstep_server import rehearsal
from blockstep_server.report import Result


def test_it_is_a_real_transfer_with_and_without_a_window(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rehearsal, "_LIMIT_S", 10.0)  # a busy machine may take longer than a server waits for it
    records = rehearsal.rehearse()
    assert {record.result for record in records} == {Result.COMPLETE}
    assert {"windowsize" in record.options for record in records} == {False, True}
    assert all(record.payload_bytes and not record.resends for record in records)


def test_it_says_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    rehearsal.rehearse()
    assert capfd.readouterr() == ("", "")


def test_without_a_loopback_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rehearsal, "_HOST", "192.0.2.1")  # documentation: nobody's address
    assert rehearsal.rehearse() == []


def test_where_the_packets_do_not_arrive_it_gives_up_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    class Deaf(socket.socket):
        def sendto(self, *_args: Any) -> int:
            return 0

    monkeypatch.setattr(socket, "socket", Deaf)
    began = time.monotonic()
    (record,) = rehearsal.rehearse()
    assert record.result is Result.FAILED
    assert time.monotonic() - began < 1


def test_where_our_own_files_cannot_be_read_the_refusals_are_rehearsed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rehearsal, "_FILE", rehearsal._FILE.with_name("nothing-of-this-name"))
    assert {record.result for record in rehearsal.rehearse()} == {Result.REFUSED}


def test_what_nobody_foresaw_ends_it_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_args: object, **_named: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(rehearsal, "blank_record", broken)
    assert rehearsal.rehearse() == []
