"""Real faults for sinks and roots, each in a process of its own: death by SIGKILL, a full disk, a size limit, no /proc.

Run as a program: `file_faults.py FAULT DIRECTORY`; prints one JSON value. It has no threads, so it may fork.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from blockstep.protocol.errors import RemoteError, TransferFailed
from blockstep.transport.atomic import AtomicFileSink
from blockstep_server.paths import Root

OLD = b"the old content\n" * 1000
NEW = b"what was sent\n" * 5000

OPENING = {"unnamed": "_open_unnamed", "named": "_open_hidden"}
PUBLISHING = {
    ("unnamed", "create"): ["_link_as"],
    ("unnamed", "replace"): ["_link_as", "_link_hidden", "_rename_part"],
    ("named", "create"): ["_rename_part"],
    ("named", "replace"): ["_rename_part"],
}


def all_deaths() -> list[tuple[str, str, str, str]]:
    """(unnamed | named, create | replace, step, before | after): every place between two system calls of an upload."""
    cases = []
    for (kind, policy), publishing in PUBLISHING.items():
        steps = [OPENING[kind], "writev", "_sync_file", *publishing, "_sync_directory", "_let_go"]
        cases += [(kind, policy, step, when) for step in steps for when in ("before", "after")]
    return cases


def run_fault(fault: str, directory: Path, *, wrapper: tuple[str, ...] = ()) -> object:
    """Run this file as a program, behind `wrapper` if there is one, and return what it printed."""
    command = [*wrapper, sys.executable, __file__, fault, os.fspath(directory)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, capture_output=True, check=False, text=True, timeout=60, env=environment)
    if done.returncode:
        raise RuntimeError(f"{command}: {done.stderr}")
    return json.loads(done.stdout)


class NamedSink(AtomicFileSink):
    """A sink on a file system without O_TMPFILE."""

    def _open_unnamed(self, mode: int) -> int:
        return -1


def _dying_class(kind: str, step: str, when: str) -> type[AtomicFileSink]:
    base = AtomicFileSink if kind == "unnamed" else NamedSink
    real: Callable[..., object] = getattr(base, step)

    def die_at(self: AtomicFileSink, *arguments: object) -> None:
        if when == "after":
            real(self, *arguments)
        os.kill(os.getpid(), signal.SIGKILL)

    return type("DyingSink", (base,), {step: die_at})


def _upload(sink_class: type[AtomicFileSink], directory: Path, *, replace: bool) -> None:
    dir_fd = os.open(directory, os.O_PATH | os.O_DIRECTORY)
    sink = sink_class(dir_fd, "target", replace=replace)
    half = len(NEW) // 2
    sink.writev([memoryview(NEW)[:half], memoryview(NEW)[half:]])
    sink.commit()


def _deaths(directory: Path) -> list[int]:
    """For each case: the signal its process died of, in a directory of that number."""
    signals = []
    for number, (kind, policy, step, when) in enumerate(all_deaths()):
        place = directory / str(number)
        place.mkdir()
        if policy == "replace":
            (place / "target").write_bytes(OLD)
        pid = os.fork()
        if not pid:
            try:
                _upload(_dying_class(kind, step, when), place, replace=policy == "replace")
            finally:
                os._exit(0)
        signals.append(os.WTERMSIG(os.waitpid(pid, 0)[1]))
    return signals


def _outcome(act: Callable[[], None]) -> list[object]:
    try:
        act()
    except TransferFailed as failure:
        return [failure.end.name, failure.code, failure.detail]
    return ["COMPLETE", None, ""]


def _write(path: Path, size_bytes: int, *, expected_bytes: int | None = None) -> None:
    block = memoryview(bytes(65536))
    with AtomicFileSink.at(path, expected_bytes=expected_bytes) as sink:
        while sink.bytes_written < size_bytes:
            sink.writev([block[: size_bytes - sink.bytes_written]])
        sink.commit()


def _small_disk(directory: Path) -> dict[str, object]:
    """On a tmpfs of 1 MiB that this process mounts in its own mount namespace."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", directory], check=True)
    target = directory / "target"
    target.write_bytes(OLD)
    result: dict[str, object] = {
        "too much": _outcome(lambda: _write(target, 2 << 20)),
        "announced": _outcome(lambda: _write(target, 1, expected_bytes=2 << 20)),
        "old is kept": target.read_bytes() == OLD,
    }
    result["enough"] = _outcome(lambda: _write(target, 1 << 19, expected_bytes=1 << 19))
    result["new size"] = target.stat().st_size
    subprocess.run(["mount", "-o", "remount,bind,ro", directory], check=True)
    result["read-only"] = _outcome(lambda: _write(target, 1))
    result["names"] = sorted(os.listdir(directory))
    return result


def _file_limit(directory: Path) -> dict[str, object]:
    target = directory / "target"
    target.write_bytes(OLD)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
    return {
        "outcome": _outcome(lambda: _write(target, 200_000)),
        "old is kept": target.read_bytes() == OLD,
        "names": os.listdir(directory),
    }


def _no_proc(directory: Path) -> dict[str, object]:
    """With an empty directory where /proc was, in this process's own mount namespace."""
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/proc"], check=True)
    target = directory / "target"
    _write(target, 70_000)
    _write(target, 70_001)
    result: dict[str, object] = {"names": os.listdir(directory), "size": target.stat().st_size}
    (directory / "link").symlink_to("target")
    os.mkfifo(directory / "fifo")
    for use_openat2 in (True, False):
        with Root(directory, use_openat2=use_openat2) as root:
            result[f"openat2={use_openat2}"] = [_read_size(root, name) for name in ("target", "link", "fifo")]
    return result


def _as_nobody(directory: Path) -> dict[str, object]:
    """Without root's rights: a file that may not be written, then a directory that may be written but not read."""
    target = directory / "target"
    target.write_bytes(OLD)
    target.chmod(0o444)
    directory.chmod(0o777)
    dir_fd = os.open(directory, os.O_PATH | os.O_DIRECTORY)
    was_root = os.geteuid() == 0
    os.setresuid(*([65534, 65534, 0] if was_root else [-1, -1, -1]))
    result: dict[str, object] = {"read-only file": _outcome(lambda: _upload_and_end(dir_fd, "target"))}
    os.setresuid(-1, 0 if was_root else -1, -1)
    directory.chmod(0o333)
    os.setresuid(-1, 65534 if was_root else -1, -1)
    result["drop-box"] = _outcome(lambda: _upload_and_end(dir_fd, "new"))
    os.setresuid(-1, 0 if was_root else -1, -1)
    directory.chmod(0o700)
    result["names"] = sorted(os.listdir(directory))
    return result


def _upload_and_end(dir_fd: int, name: str) -> None:
    with AtomicFileSink(dir_fd, name, replace=True) as sink:
        sink.writev([memoryview(NEW)])
        sink.commit()


def _read_size(root: Root, name: str) -> int | str:
    try:
        fd, status = root.open_for_reading(name)
    except RemoteError as error:
        return error.code.name
    os.close(fd)
    return status.st_size


if __name__ == "__main__":
    faults: dict[str, Callable[[Path], object]] = {
        "deaths": _deaths,
        "small-disk": _small_disk,
        "file-limit": _file_limit,
        "no-proc": _no_proc,
        "as-nobody": _as_nobody,
    }
    json.dump(faults[sys.argv[1]](Path(sys.argv[2])), sys.stdout)
