from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from blockstep.protocol.errors import End, ErrorCode, LocalError, TransferFailed
from blockstep.transport.atomic import AtomicFileSink, sweep_leftovers
from support.file_faults import NEW, OLD, NamedSink, all_deaths, run_fault

KINDS = [AtomicFileSink, NamedSink]


def views(content: bytes) -> list[memoryview]:
    return [memoryview(content)]


@pytest.fixture
def dir_fd(tmp_path: Path) -> Iterator[int]:
    fd = os.open(tmp_path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    yield fd
    os.close(fd)


@pytest.mark.parametrize("kind", KINDS)
class TestOneFile:
    def test_the_name_is_there_only_after_the_commit(
        self, kind: type[AtomicFileSink], tmp_path: Path, dir_fd: int
    ) -> None:
        sink = kind(dir_fd, "target", replace=False)
        sink.writev([memoryview(b"ab"), memoryview(b"cd")] * 1200)
        sink.writev([memoryview(b"ef"), memoryview(b"g")])
        sink.writev([])
        assert not (tmp_path / "target").exists()
        assert sink.bytes_written == 4803
        sink.commit()
        assert (tmp_path / "target").read_bytes() == b"abcd" * 1200 + b"efg"
        assert os.listdir(tmp_path) == ["target"]

    def test_an_empty_file_is_a_file(self, kind: type[AtomicFileSink], tmp_path: Path, dir_fd: int) -> None:
        kind(dir_fd, "target", replace=False).commit()
        assert (tmp_path / "target").read_bytes() == b""

    def test_replacing_keeps_the_old_file_until_then_and_its_permissions(
        self, kind: type[AtomicFileSink], tmp_path: Path, dir_fd: int
    ) -> None:
        target = tmp_path / "target"
        target.write_bytes(OLD)
        target.chmod(0o6754)
        with target.open("rb") as reader:
            sink = kind(dir_fd, "target", replace=True)
            sink.writev(views(NEW))
            assert target.read_bytes() == OLD
            sink.commit()
            assert reader.read() == OLD
        assert target.read_bytes() == NEW
        assert stat.S_IMODE(target.stat().st_mode) == 0o754
        assert os.listdir(tmp_path) == ["target"]

    def test_a_new_file_gets_the_mode_less_the_umask(
        self, kind: type[AtomicFileSink], tmp_path: Path, dir_fd: int
    ) -> None:
        kind(dir_fd, "plain", replace=True).commit()
        kind(dir_fd, "private", replace=True, mode=0o600).commit()
        (tmp_path / "witness").touch(0o666)
        assert (tmp_path / "plain").stat().st_mode == (tmp_path / "witness").stat().st_mode
        assert stat.S_IMODE((tmp_path / "private").stat().st_mode) == 0o600

    @pytest.mark.parametrize("end", ["abort", "leave", "fail"])
    def test_without_a_commit_nothing_is_left(
        self, kind: type[AtomicFileSink], end: str, tmp_path: Path, dir_fd: int
    ) -> None:
        (tmp_path / "target").write_bytes(OLD)
        with kind(dir_fd, "target", replace=True, max_bytes=100) as sink:
            sink.writev(views(b"x" * 100))
            if end == "abort":
                sink.abort()
                sink.abort()
            if end == "fail":
                with pytest.raises(TransferFailed) as caught:
                    sink.writev(views(b"x"))
                assert caught.value.code == ErrorCode.DISK_FULL
                assert "100 bytes" in caught.value.detail
        assert (tmp_path / "target").read_bytes() == OLD
        assert os.listdir(tmp_path) == ["target"]
        with pytest.raises(LocalError):
            sink.commit()
        with pytest.raises(LocalError):
            sink.writev(views(b"x"))

    def test_a_name_that_is_taken_is_refused_at_once_and_at_the_end(
        self, kind: type[AtomicFileSink], tmp_path: Path, dir_fd: int
    ) -> None:
        sink = kind(dir_fd, "target", replace=False)
        sink.writev(views(NEW))
        (tmp_path / "target").write_bytes(OLD)
        with pytest.raises(TransferFailed) as caught:
            sink.commit()
        assert (caught.value.end, caught.value.code) == (End.LOCAL_WRITE, ErrorCode.FILE_EXISTS)
        with pytest.raises(TransferFailed) as caught:
            kind(dir_fd, "target", replace=False)
        assert caught.value.code == ErrorCode.FILE_EXISTS
        assert (tmp_path / "target").read_bytes() == OLD
        assert os.listdir(tmp_path) == ["target"]

    def test_two_writers_of_one_name_never_mix(self, kind: type[AtomicFileSink], tmp_path: Path, dir_fd: int) -> None:
        first = kind(dir_fd, "target", replace=True)
        second = kind(dir_fd, "target", replace=True)
        for _ in range(3):
            first.writev(views(b"1" * 5000))
            second.writev(views(b"2" * 5001))
        first.commit()
        assert (tmp_path / "target").read_bytes() == b"1" * 15_000
        second.commit()
        assert (tmp_path / "target").read_bytes() == b"2" * 15_003
        assert os.listdir(tmp_path) == ["target"]

    def test_only_one_of_two_creators_wins(self, kind: type[AtomicFileSink], tmp_path: Path, dir_fd: int) -> None:
        first, second = (kind(dir_fd, "target", replace=False) for _ in range(2))
        second.writev(views(b"2"))
        second.commit()
        with pytest.raises(TransferFailed):
            first.commit()
        assert (tmp_path / "target").read_bytes() == b"2"

    def test_what_is_no_regular_file_is_never_replaced(
        self, kind: type[AtomicFileSink], tmp_path: Path, dir_fd: int
    ) -> None:
        (tmp_path / "dir").mkdir()
        (tmp_path / "link").symlink_to("dir")
        os.mkfifo(tmp_path / "fifo")
        for name in ("dir", "link", "fifo"):
            with pytest.raises(TransferFailed) as caught:
                kind(dir_fd, name, replace=True)
            assert caught.value.code == ErrorCode.ACCESS_VIOLATION

    def test_a_directory_that_appears_meanwhile_stays(
        self, kind: type[AtomicFileSink], tmp_path: Path, dir_fd: int
    ) -> None:
        sink = kind(dir_fd, "target", replace=True)
        (tmp_path / "target").mkdir()
        with pytest.raises(TransferFailed) as caught:
            sink.commit()
        assert caught.value.code == ErrorCode.ACCESS_VIOLATION
        assert os.listdir(tmp_path) == ["target"]

    def test_a_directory_that_vanishes_fails_the_transfer(self, kind: type[AtomicFileSink], tmp_path: Path) -> None:
        (tmp_path / "below").mkdir()
        sink = kind.at(tmp_path / "below" / "target")
        shutil.rmtree(tmp_path / "below")
        with pytest.raises(TransferFailed) as caught:
            sink.commit()
        assert caught.value.end is End.LOCAL_WRITE

    def test_the_size_that_was_announced_is_held_against_the_limit(
        self, kind: type[AtomicFileSink], tmp_path: Path, dir_fd: int
    ) -> None:
        for expected, limit in [(101, 100), (1 << 62, None)]:
            with pytest.raises(TransferFailed) as caught:
                kind(dir_fd, "target", replace=True, expected_bytes=expected, max_bytes=limit)
            assert caught.value.code == ErrorCode.DISK_FULL
        assert os.listdir(tmp_path) == []


class TestByPath:
    def test_a_link_stays_and_its_target_is_replaced(self, tmp_path: Path) -> None:
        (tmp_path / "real").write_bytes(OLD)
        (tmp_path / "link").symlink_to("real")
        with AtomicFileSink.at(tmp_path / "link") as sink:
            sink.writev(views(NEW))
            sink.commit()
        assert (tmp_path / "link").is_symlink()
        assert (tmp_path / "real").read_bytes() == NEW

    def test_names_of_any_bytes(self, tmp_path: Path) -> None:
        path = tmp_path / os.fsdecode(b"caf\xe9 \n\x1b")
        with AtomicFileSink.at(path) as sink:
            sink.commit()
        assert path.exists()


def test_without_roots_rights(tmp_path: Path) -> None:
    got = run_fault("as-nobody", tmp_path)
    assert isinstance(got, dict)
    assert got["read-only file"][:2] == ["LOCAL_WRITE", ErrorCode.ACCESS_VIOLATION]
    assert got["drop-box"][0] == "COMPLETE"
    assert got["names"] == ["new", "target"]
    assert (tmp_path / "target").read_bytes() == OLD
    assert (tmp_path / "new").read_bytes() == NEW


class TestSweep:
    def test_spares_the_living_and_removes_the_dead(self, tmp_path: Path, dir_fd: int) -> None:
        (tmp_path / "a" / "b").mkdir(parents=True)
        dead = [
            tmp_path / ".blockstep-0123456789abcdef.part",
            tmp_path / "a" / "b" / ".blockstep-ffffffffffffffff.part",
        ]
        others = [tmp_path / ".blockstep-x.part", tmp_path / "a" / ".blockstep-0123456789abcdef.party"]
        for path in dead + others:
            path.touch()
        outside = tmp_path.with_name(tmp_path.name + "-outside")
        outside.mkdir()
        (outside / dead[0].name).touch()
        (tmp_path / "a" / "link").symlink_to(outside)
        (tmp_path / "a" / dead[0].name).symlink_to(outside / dead[0].name)
        with NamedSink.at(tmp_path / "a" / "target") as living:
            assert sweep_leftovers(dir_fd) == 2
            living.writev(views(NEW))
            living.commit()
        assert not any(path.exists() for path in dead)
        assert all(path.exists() for path in [*others, outside / dead[0].name])
        assert (tmp_path / "a" / "target").read_bytes() == NEW
        assert sweep_leftovers(dir_fd) == 0

    def test_ends_at_its_depth(self, tmp_path: Path, dir_fd: int) -> None:
        (tmp_path / "a").mkdir()
        (tmp_path / "a" / ".blockstep-0123456789abcdef.part").touch()
        assert sweep_leftovers(dir_fd, max_depth=0) == 0
        assert sweep_leftovers(dir_fd, max_depth=1) == 1


@pytest.fixture(scope="module")
def deaths(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[int]]:
    place = tmp_path_factory.mktemp("deaths")
    signals = run_fault("deaths", place)
    assert isinstance(signals, list)
    return place, signals


@pytest.mark.parametrize("number", range(len(all_deaths())), ids=["-".join(case) for case in all_deaths()])
def test_killed_at_any_step_the_name_holds_the_old_or_the_new_content(
    deaths: tuple[Path, list[int]], number: int
) -> None:
    place, signals = deaths
    _kind, policy, step, _when = all_deaths()[number]
    assert signals[number] == signal.SIGKILL
    folder = place / str(number)
    target = folder / "target"
    content = target.read_bytes() if target.exists() else None
    assert content in (OLD if policy == "replace" else None, NEW)
    if step in {"_open_unnamed", "_open_hidden", "writev", "_sync_file"}:
        assert content != NEW
    if step in {"_sync_directory", "_let_go"}:
        assert content == NEW
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    swept = sweep_leftovers(fd)
    os.close(fd)
    assert swept <= 1
    assert os.listdir(folder) == (["target"] if content is not None else [])
    if content is not None:
        assert target.read_bytes() == content


def mount_namespace() -> tuple[str, ...]:
    """What to put before a command that mounts for itself alone; skips where that is not to be had."""
    user = () if os.geteuid() == 0 else ("--user", "--map-root-user")
    wrapper = ("unshare", *user, "--mount")
    if shutil.which("unshare") is None:
        pytest.skip("there is no unshare")
    if subprocess.run([*wrapper, "true"], capture_output=True, check=False).returncode:
        pytest.skip("mount namespaces are not allowed here")
    return wrapper


def test_a_full_disk_and_a_read_only_one(tmp_path: Path) -> None:
    got = run_fault("small-disk", tmp_path, wrapper=mount_namespace())
    assert isinstance(got, dict)
    full = ["LOCAL_WRITE", ErrorCode.DISK_FULL, "the file cannot be written: no space left on device"]
    assert got["too much"] == full
    assert got["announced"] == full
    assert got["old is kept"] is True
    assert got["enough"][0] == "COMPLETE"
    assert got["new size"] == 1 << 19
    assert got["read-only"][:2] == ["LOCAL_WRITE", ErrorCode.ACCESS_VIOLATION]
    assert got["names"] == ["target"]


def test_a_limit_on_the_file_size(tmp_path: Path) -> None:
    got = run_fault("file-limit", tmp_path)
    assert isinstance(got, dict)
    assert got["outcome"][:2] == ["LOCAL_WRITE", ErrorCode.DISK_FULL]
    assert got["old is kept"] is True
    assert got["names"] == ["target"]


def test_without_proc_everything_works_by_name(tmp_path: Path) -> None:
    got = run_fault("no-proc", tmp_path, wrapper=mount_namespace())
    assert got == {
        "names": ["target"],
        "size": 70_001,
        "openat2=True": [70_001, 70_001, "ACCESS_VIOLATION"],
        "openat2=False": [70_001, "ACCESS_VIOLATION", "ACCESS_VIOLATION"],
    }
