"""What every measurement stands on: a folder with files, the running servers, and a bound on the time.

The files are random bytes from a fixed seed, in memory where the machine has /dev/shm, so that no disk is measured.
Their names carry their sizes. Leaving the stage stops every server and removes the folder.
"""

from __future__ import annotations

import contextlib
import os
import platform
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from servers import READY_NAME, CannotStart, Kind, Server, kinds, running, version_of

MIB = 1 << 20
_CHUNK = 16 * MIB


@dataclass(slots=True)
class Stage:
    """`servers` run on `root`; `absent` says why others do not. Past `ends_at` (monotonic) nothing new is begun."""

    folder: Path
    ends_at: float
    servers: list[Server] = field(default_factory=list)
    absent: dict[str, str] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)

    @property
    def root(self) -> Path:
        """The folder that is served."""
        return self.folder / "root"

    @property
    def logs(self) -> Path:
        """Where servers write."""
        return self.folder / "logs"

    def file(self, size_bytes: int) -> str:
        """The name of a served file of this size."""
        path = self.root / f"random-{size_bytes}.bin"
        if not path.exists():
            chance = random.Random(size_bytes)
            with path.open("wb") as stream:
                for offset in range(0, size_bytes, _CHUNK):  # `randbytes` cannot give 256 MiB at once
                    stream.write(chance.randbytes(min(_CHUNK, size_bytes - offset)))
            path.chmod(0o644)
        return path.name

    def content(self, size_bytes: int) -> bytes:
        """The bytes of that file."""
        return (self.root / self.file(size_bytes)).read_bytes()

    def has_time_for(self, what: str) -> bool:
        """False, and `what` is noted as left out, when the time is over."""
        if time.monotonic() < self.ends_at:
            return True
        self.skipped.append(what)
        return False


@contextlib.contextmanager
def staged(*, minutes: float, folder: Path | None = None, only: Sequence[str] = ()) -> Iterator[Stage]:
    """A stage with every server that is installed (or those named in `only`)."""
    with contextlib.ExitStack() as cleanup:
        work = Path(tempfile.mkdtemp(prefix="blockstep-bench-", dir=folder or _memory()))
        cleanup.callback(shutil.rmtree, work, ignore_errors=True)
        stage = Stage(work, time.monotonic() + 60 * minutes)
        work.chmod(0o755)
        stage.root.mkdir(mode=0o755)
        stage.logs.mkdir()
        (stage.root / READY_NAME).write_bytes(b"ready")
        for kind in kinds():
            if not only or kind.name in only:
                _start(kind, stage, cleanup)
        yield stage


def _start(kind: Kind, stage: Stage, cleanup: contextlib.ExitStack) -> None:
    try:
        stage.servers.append(cleanup.enter_context(running(kind, stage.root, stage.logs)))
    except CannotStart as reason:
        stage.absent[kind.name] = str(reason)
        say(f"{kind.name}: left out: {reason}")


def _memory() -> Path | None:
    shm = Path("/dev/shm")
    return shm if os.access(shm, os.W_OK) and shutil.disk_usage(shm).free > 2048 * MIB else None


def machine_facts() -> dict[str, object]:
    """What the figures depend on."""
    cpuinfo = Path("/proc/cpuinfo").read_text()
    model = next((line.partition(":")[2].strip() for line in cpuinfo.splitlines() if "model name" in line), "?")
    return {
        "cpu": model,
        "processors": len(os.sched_getaffinity(0)),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load_before": os.getloadavg()[0],
        "time": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "versions": {kind.name: version_of(kind) for kind in kinds()},
    }


def say(text: str) -> None:
    """Progress, for a person who waits."""
    print(text, file=sys.stderr, flush=True)
