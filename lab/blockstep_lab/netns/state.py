"""How another terminal finds a running lab: a small file in a folder that only its owner can read or write.

Decided here: where the file is ($XDG_RUNTIME_DIR/blockstep, else /tmp/blockstep-UID), and what is believed of it. It
names the router's process and when that was started; a file whose process is gone, or whose number belongs to another
process now, is removed by whoever finds it. The namespaces themselves are reached through the router's open
descriptors, so a file can never keep a lab alive.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from blockstep.protocol.errors import LocalError
from blockstep_lab.netns.namespaces import Namespaces

__all__ = ["LabState", "find_lab", "publish", "running_labs"]

_FOLDER_MODE = 0o700
_LARGEST_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class LabState:
    """A running lab: its router's pid and start time (clock ticks), addresses and descriptors by host."""

    pid: int
    started: int
    addresses: dict[str, str]
    descriptors: dict[str, Namespaces]

    @contextlib.contextmanager
    def opened(self, name: str) -> Iterator[Namespaces]:
        """A host's namespaces, held open. LocalError if there is no such host or the lab has just ended."""
        if name not in self.descriptors:
            raise LocalError(f"no host {name!r} in this lab; there is {', '.join(self.descriptors)}")
        held: dict[str, int] = {}
        try:
            for kind in ("user", "mount", "net"):
                number = getattr(self.descriptors[name], kind)
                if number is not None:
                    held[kind] = os.open(f"/proc/{self.pid}/fd/{number}", os.O_RDONLY | os.O_CLOEXEC)
            yield Namespaces(**held)
        except FileNotFoundError as error:
            raise LocalError("the lab has ended") from error
        finally:
            for descriptor in held.values():
                os.close(descriptor)

    def is_alive(self) -> bool:
        """Whether the process is there and is still the one that was meant."""
        return _start_time(self.pid) == self.started


@contextlib.contextmanager
def publish(pid: int, addresses: Mapping[str, str], descriptors: Mapping[str, Namespaces]) -> Iterator[Path]:
    """Writes the file of a lab whose router is `pid`; it is gone afterwards. LocalError where that is not safe."""
    folder = _folder()
    for _ in running_labs():
        pass  # what is left of labs that were killed goes now
    state = LabState(pid, _start_time(pid) or 0, dict(addresses), dict(descriptors))
    path = folder / f"lab-{pid}.json"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with open(os.open(path, flags, 0o600), "w") as file:
        json.dump(asdict(state), file)
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


def running_labs() -> list[LabState]:
    """Every running lab of this user, the newest last. Files of labs that are gone are removed."""
    found = []
    for path in _folder().glob("lab-*.json"):
        state = _maybe_read(path)
        if state is not None and state.is_alive():
            found.append(state)
        else:
            path.unlink(missing_ok=True)
    return sorted(found, key=lambda state: state.started)


def find_lab(pid: int | None = None) -> LabState:
    """The one running lab, or that whose router is `pid`. LocalError if there is none, or more than one to choose."""
    labs = running_labs()
    if pid is not None:
        labs = [state for state in labs if state.pid == pid]
    if not labs:
        raise LocalError("no lab is running for this user; start one with: blockstep lab shell")
    if len(labs) > 1:
        numbers = ", ".join(str(state.pid) for state in labs)
        raise LocalError(f"several labs are running; choose one with --lab: {numbers}")
    return labs[0]


def _folder() -> Path:
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    folder = Path(runtime, "blockstep") if runtime and Path(runtime).is_dir() else Path(f"/tmp/blockstep-{os.getuid()}")
    try:
        folder.mkdir(mode=_FOLDER_MODE, exist_ok=True)
        found = folder.lstat()
    except OSError as error:
        raise LocalError(f"cannot use {folder}: {error.strerror}") from error
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or stat.S_IMODE(found.st_mode) & 0o077:
        raise LocalError(f"{folder} is not safe: it must be a folder of yours that nobody else can enter (mode 0700)")
    return folder


def _maybe_read(path: Path) -> LabState | None:
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)) as file:
            return _state(json.loads(file.read(_LARGEST_BYTES)))
    except (OSError, ValueError, TypeError, KeyError):
        return None  # half written by a program that was killed: as good as none


def _state(raw: dict[str, Any]) -> LabState:
    descriptors = {str(name): Namespaces(**each) for name, each in raw["descriptors"].items()}
    return LabState(int(raw["pid"]), int(raw["started"]), dict(raw["addresses"]), descriptors)


def _start_time(pid: int) -> int | None:
    """When a process was started, in clock ticks since boot (proc(5), field 22); None if there is none."""
    try:
        after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if after_name[0] == "Z" else int(after_name[19])
