from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from blockstep.protocol.errors import End, ErrorCode, RemoteError, TransferFailed
from blockstep.protocol.machine import TransferStats
from blockstep.protocol.options import Agreed
from blockstep.protocol.wire import Opcode, OptionAck, Request
from blockstep.transport.files import Source
from blockstep_server.board import Board
from blockstep_server.clerk import Account, Service
from blockstep_server.config import ServerConfig
from blockstep_server.paths import Root
from blockstep_server.report import Result, TransferRecord
from blockstep_server.telling import Telling
from blockstep_server.upload_policy import UploadPolicy

BLANK = TransferRecord(peer="peer", transport="tcp")


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    with Root(tmp_path) as root:
        yield Service(ServerConfig(root=tmp_path, uploads=UploadPolicy.CREATE, max_upload_bytes=10), root)


def asked(opcode: Opcode, name: str, mode: str = "octet") -> Request:
    return Request(opcode, name, mode, ())


def content(source: Source) -> bytes:
    memory = bytearray(100)
    got = source.readv([memoryview(memory)])
    source.close()
    return bytes(memory[:got])


def test_a_file_travels_in_the_mode_that_was_asked(service: Service, tmp_path: Path) -> None:
    (tmp_path / "text").write_bytes(b"a\nb")
    assert content(service.open_source(asked(Opcode.RRQ, "text"))) == b"a\nb"
    assert content(service.open_source(asked(Opcode.RRQ, "text", "netascii"))) == b"a\r\nb"
    sink = service.open_sink(asked(Opcode.WRQ, "new", "netascii"), Agreed())
    sink.writev([memoryview(b"a\r\nb")])
    sink.commit()
    assert (tmp_path / "new").read_bytes() == b"a\nb"


def test_what_may_not_be_is_refused_before_anything_is_there(service: Service, tmp_path: Path) -> None:
    (tmp_path / "old").write_bytes(b"old")
    attempts: list[tuple[Callable[[], object], ErrorCode]] = [
        (lambda: service.open_source(asked(Opcode.RRQ, "none")), ErrorCode.FILE_NOT_FOUND),
        (lambda: service.open_source(asked(Opcode.RRQ, "../x")), ErrorCode.ACCESS_VIOLATION),
        (lambda: service.open_sink(asked(Opcode.WRQ, "old"), Agreed()), ErrorCode.FILE_EXISTS),
        (lambda: service.open_sink(asked(Opcode.WRQ, "new"), Agreed(tsize=11)), ErrorCode.DISK_FULL),
    ]
    for attempt, code in attempts:
        with pytest.raises(RemoteError) as caught:
            attempt()
        assert caught.value.code == code
    assert [path.name for path in tmp_path.iterdir()] == ["old"]


def test_a_record_grows_with_what_is_known() -> None:
    slot = Board(1).maybe_take()
    assert slot is not None
    times = iter([10.0, 12.5])
    account = Account(BLANK, Telling(lambda _record: None, slot), clock=lambda: next(times))
    account.asked(asked(Opcode.WRQ, "file"))
    account.granted(OptionAck((("blksize", "1428"),)))
    account.began()
    account.progress(5, 0)
    live = slot.maybe_live()
    assert live is not None
    assert (live.facts["file"], live.payload_bytes) == ("file", 5)
    record = account.ended(stats=TransferStats(blocks=3, resends=1), payload_bytes=7)
    assert (record.peer, record.transport, record.op, record.file) == ("peer", "tcp", "write", "file")
    assert (record.options, record.blocks, record.resends, record.payload_bytes) == ({"blksize": 1428}, 3, 1, 7)
    assert (record.result, record.status, record.seconds) == (Result.COMPLETE, 0, 2.5)


@pytest.mark.parametrize(
    ("failure", "result", "code", "status"),
    [
        (RemoteError(ErrorCode.FILE_NOT_FOUND, "gone"), Result.REFUSED, 1, 68),
        (TransferFailed(End.PEER_ERROR, "full", 3), Result.FAILED, 3, 70),
        (TransferFailed(End.TIMED_OUT, "silence"), Result.FAILED, None, 28),
    ],
)
def test_how_it_ended(failure: RemoteError | TransferFailed, result: Result, code: int | None, status: int) -> None:
    record = Account(BLANK, Telling(lambda _record: None)).ended(failure)
    assert (record.result, record.code, record.status, record.detail) == (result, code, status, str(failure))


def test_a_probe_is_no_failure() -> None:
    account = Account(BLANK, Telling(lambda _record: None))
    account.asked(asked(Opcode.RRQ, "file"))
    told = [account.told_the_size]
    account.granted(OptionAck((("tsize", "5"),)))
    assert [*told, account.told_the_size] == [False, True]
    record = account.ended(TransferFailed(End.PEER_ERROR, "only asking", 8), is_probe=True)
    assert (record.result, record.status, record.code) == (Result.PROBE, 0, 8)
