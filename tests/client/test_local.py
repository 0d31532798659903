from __future__ import annotations

from pathlib import Path

import pytest

from blockstep.protocol.errors import End, TransferFailed
from blockstep.transport.atomic import HIDDEN_PREFIX
from blockstep_client.address import parse_target
from blockstep_client.jobs import Direction, Job
from blockstep_client.local import open_sink, open_source, remove_leftovers


def get_to(path: Path) -> Job:
    return Job(Direction.GET, parse_target("h:a"), str(path))


def put_from(path: Path) -> Job:
    return Job(Direction.PUT, parse_target("h:a"), str(path))


def read_all(job: Job, mode: str) -> bytes:
    source = open_source(job, mode)
    memory = memoryview(bytearray(4096))
    got = source.readv([memory])
    source.close()
    return bytes(memory[:got])


def test_a_file_is_sent_in_either_mode(tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_bytes(b"one\ntwo\r")
    assert read_all(put_from(file), "octet") == b"one\ntwo\r"
    assert read_all(put_from(file), "netascii") == b"one\r\ntwo\r\0"


def test_only_an_octet_file_has_a_size(tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_bytes(b"12\n")
    for mode, size in (("octet", 3), ("netascii", None)):
        source = open_source(put_from(file), mode)
        assert source.size_bytes == size
        source.close()


def test_a_file_is_received_in_either_mode(tmp_path: Path) -> None:
    for mode, text in (("octet", b"a\r\n"), ("netascii", b"a\n")):
        sink = open_sink(get_to(tmp_path / mode), mode, replace=True, tsize=3)
        sink.writev([memoryview(b"a\r\n")])
        sink.commit()
        assert (tmp_path / mode).read_bytes() == text
        assert sink.bytes_written == len(text)


def test_one_byte_more_than_announced_ends_it_at_once(tmp_path: Path) -> None:
    sink = open_sink(get_to(tmp_path / "a"), "octet", replace=True, tsize=3)
    sink.writev([memoryview(b"12")])
    with pytest.raises(TransferFailed, match="3 bytes were announced and more sent") as caught:
        sink.writev([memoryview(b"34")])
    assert caught.value.end is End.PEER_BROKE_RULES
    assert list(tmp_path.iterdir()) == []


def test_one_byte_less_than_announced_keeps_the_file_away(tmp_path: Path) -> None:
    sink = open_sink(get_to(tmp_path / "a"), "octet", replace=True, tsize=3)
    sink.writev([memoryview(b"12")])
    with pytest.raises(TransferFailed, match="3 bytes were announced and only 2 sent"):
        sink.commit()
    assert list(tmp_path.iterdir()) == []


def test_an_empty_file_that_was_announced_is_a_file(tmp_path: Path) -> None:
    sink = open_sink(get_to(tmp_path / "a"), "octet", replace=True, tsize=0)
    sink.commit()
    assert (tmp_path / "a").read_bytes() == b""


def test_a_size_that_no_disk_holds_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(TransferFailed) as caught:
        open_sink(get_to(tmp_path / "a"), "octet", replace=True, tsize=2**62)
    assert caught.value.end is End.LOCAL_WRITE
    assert list(tmp_path.iterdir()) == []


def test_the_standard_streams_stand_behind_a_minus(capfd: pytest.CaptureFixture[str]) -> None:
    sink = open_sink(get_to(Path("-")), "octet", replace=True, tsize=None)
    sink.writev([memoryview(b"bytes")])
    sink.commit()
    assert capfd.readouterr().out == "bytes"
    assert open_source(put_from(Path("-")), "octet").size_bytes is None


def test_only_what_the_dead_left_is_removed_and_only_from_folders_that_are_written_to(tmp_path: Path) -> None:
    dead = f"{HIDDEN_PREFIX}{'0' * 16}.part"
    elsewhere, below, link = tmp_path / "elsewhere", tmp_path / "a" / "below", tmp_path / "link"
    for folder in (elsewhere, below, below.parent):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / dead).write_bytes(b"half")
    link.symlink_to(elsewhere / "file")
    jobs = [get_to(below.parent / name) for name in ("x", "y")]
    assert remove_leftovers([*jobs, get_to(Path("-")), get_to(tmp_path / "missing" / "x"), put_from(below / "x")]) == 1
    assert (below / dead).exists()
    assert remove_leftovers([get_to(link)]) == 1  # the file behind the link is the one that will be written
