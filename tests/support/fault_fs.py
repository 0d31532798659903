"""A real file system that fails or waits where a test says so, kept in this process's memory.

The kernel asks it (`fuse`), so what the server sees of a fault is a system call that fails, and what a test sees of
the server is each step that it takes, in order. Decided here:

- `fail`: the n-th request of a kind gets an error, once or from then on.
- `hold`: the n-th request of a kind waits; the process that made it stands still inside its system call until the gate
  is opened, by which the step is done, or not, as if it had died before.
- What a loss of power would leave. A file keeps what was synced, a directory the names that were synced; names may also
  survive on their own, as with a journal. `after_power_loss` is both.

One flat directory. The thread that answers never waits, so others are served while one is held.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import stat
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from support.fuse import (
    MAX_WRITE,
    ROOT_NODE,
    Attributes,
    Op,
    Request,
    mounted,
    pack_attributes,
    pack_entry,
    pack_init,
    pack_listing,
    pack_opened,
    pack_room,
)

__all__ = ["FaultFs", "Gate", "Op", "fault_fs"]

_PATIENCE_S = 10.0
_ROOM_BLOCKS = 1 << 20
_SET_MODE, _SET_SIZE = 1, 8


@dataclass(slots=True)
class _Node:
    number: int
    mode: int
    links: int = 0
    content: bytearray = field(default_factory=bytearray)
    synced: bytes | None = None

    def attributes(self) -> Attributes:
        return Attributes(self.number, self.mode, len(self.content), self.links)


class Gate:
    """One request that waits. `await_reached` before looking at the process, then open it."""

    def __init__(self, fs: FaultFs) -> None:
        self._fs = fs
        self._reached = threading.Event()
        self._request: Request | None = None

    def await_reached(self) -> int:
        """Wait until somebody stands at the gate; who."""
        assert self._reached.wait(_PATIENCE_S), "nobody has come so far"
        assert self._request is not None
        return self._request.pid

    @property
    def is_reached(self) -> bool:
        """Whether somebody stands there."""
        return self._reached.is_set()

    def reach(self, request: Request) -> None:
        """Somebody comes."""
        self._request = request
        self._reached.set()

    def open(self, *, done: bool = True) -> None:
        """Let it pass. Not `done`: the step fails with EINTR and nothing has happened."""
        request, self._request = self._request, None
        if request is not None:
            self._fs.finish(request, error=0 if done else errno.EINTR)


@dataclass(slots=True)
class _Plan:
    """What shall become of a request of one kind: after `left` others an error, or a gate."""

    left: int
    error: int = 0
    gate: Gate | None = None
    for_ever: bool = False


class FaultFs:
    """The file system. `steps` are the kinds of requests so far, those of writing; files are set and read by name."""

    def __init__(self, fd: int, *, unnamed: bool = True) -> None:
        self._fd = fd
        self._unnamed = unnamed
        self._lock = threading.RLock()
        self._nodes: dict[int, _Node] = {}
        self._names: dict[str, int] = {}
        self._synced_names: dict[str, int] = {}
        self._plans: dict[Op, _Plan] = {}
        self.steps: list[Op] = []
        self.broken: list[str] = []

    # For the test.

    def write(self, name: str, content: bytes) -> None:
        """Put a file there as if it had been for long."""
        with self._lock:
            node = self._new_node(stat.S_IFREG | 0o644)
            node.content[:] = node.synced = content
            node.links = 1
            self._names[name] = self._synced_names[name] = node.number

    def files(self) -> dict[str, bytes]:
        """Everything that has a name."""
        with self._lock:
            return {name: bytes(self._nodes[number].content) for name, number in self._names.items()}

    def after_power_loss(self) -> list[dict[str, bytes]]:
        """What could be there if the power failed now: with the names that were synced, and with those of now."""
        with self._lock:
            return [
                {name: self._nodes[number].synced or b"" for name, number in names.items()}
                for names in (self._synced_names, self._names)
            ]

    def fail(self, op: Op, error: int, *, nth: int = 1, for_ever: bool = False) -> None:
        """Answer the n-th request of that kind from now on with `error`, and with `for_ever` all that follow it."""
        with self._lock:
            self._plans[op] = _Plan(nth - 1, error, for_ever=for_ever)

    def hold(self, op: Op, *, nth: int = 1) -> Gate:
        """Let the n-th request of that kind wait."""
        with self._lock:
            gate = Gate(self)
            self._plans[op] = _Plan(nth - 1, gate=gate)
            return gate

    def heal(self) -> None:
        """Forget what was to fail or to wait."""
        with self._lock:
            self._plans.clear()
            self.steps.clear()

    # For the kernel.

    def run(self, stop_fd: int) -> None:
        """Answer until `stop_fd` is readable."""
        poll = select.poll()
        for fd in (self._fd, stop_fd):
            poll.register(fd, select.POLLIN)
        while all(fd != stop_fd for fd, _ in poll.poll()):
            try:
                request = Request.parse(os.read(self._fd, MAX_WRITE + (1 << 16)))
            except (InterruptedError, FileNotFoundError):
                continue  # what was asked has been taken back
            except OSError:
                return  # the mount has gone
            with self._lock:
                plan = self._plan_for(request)
                if plan is not None and plan.gate is not None:
                    plan.gate.reach(request)
                    continue
                self.finish(request, error=plan.error if plan is not None else 0)

    def finish(self, request: Request, *, error: int = 0) -> None:
        """Do what is asked, unless there is an `error`, and answer."""
        with self._lock:
            try:
                body = b"" if error else self._answer(request)
            except OSError as refusal:
                body, error = b"", refusal.errno or errno.EIO
            except Exception as bug:  # noqa: BLE001 - the test must hear of it, and the kernel must have its answer
                self.broken.append(f"{request}: {bug!r}")
                body, error = b"", errno.EIO
            request.answer(self._fd, body, error=error)

    def _plan_for(self, request: Request) -> _Plan | None:
        try:
            op = Op(request.op)
        except ValueError:
            return None
        if op in _STEPS:
            self.steps.append(op)
        plan = self._plans.get(op)
        if plan is None or plan.left:
            if plan is not None:
                plan.left -= 1
            return None
        if not plan.for_ever:
            del self._plans[op]
        return plan

    def _answer(self, request: Request) -> bytes:
        answer = _ANSWERS.get(request.op)
        if answer is None:
            raise OSError(errno.ENOSYS, "")
        return answer(self, request)

    def _new_node(self, mode: int) -> _Node:
        number = ROOT_NODE + 1 + len(self._nodes)
        node = self._nodes[number] = _Node(number, mode)
        return node

    def _named(self, name: str) -> _Node:
        if name not in self._names:
            raise OSError(errno.ENOENT, "")
        return self._nodes[self._names[name]]

    def _attributes(self, number: int) -> Attributes:
        return Attributes(ROOT_NODE, stat.S_IFDIR | 0o777, links=2) if number == ROOT_NODE else self._node(number)

    def _node(self, number: int) -> Attributes:
        return self._nodes[number].attributes()

    def _init(self, _request: Request) -> bytes:
        return pack_init()

    def _lookup(self, request: Request) -> bytes:
        return pack_entry(self._named(request.names()[0]).attributes())

    def _getattr(self, request: Request) -> bytes:
        return pack_attributes(self._attributes(request.node))

    def _setattr(self, request: Request) -> bytes:
        valid, _, _, size, *_times, mode = request.words("II6Q3II")
        if request.node != ROOT_NODE:
            node = self._nodes[request.node]
            if valid & _SET_SIZE:
                node.content[size:] = bytes(max(0, size - len(node.content)))
            if valid & _SET_MODE:
                node.mode = mode
        return self._getattr(request)

    def _unlink(self, request: Request) -> bytes:
        name = request.names()[0]
        self._named(name).links -= 1
        del self._names[name]
        return b""

    def _rename(self, request: Request) -> bytes:
        old, new = request.names(16 if request.op == Op.RENAME2 else 8)
        if request.op == Op.RENAME2 and request.words("QI")[1]:
            raise OSError(errno.EINVAL, "")
        node = self._named(old)
        if new in self._names:
            self._named(new).links -= 1
        del self._names[old]
        self._names[new] = node.number
        return b""

    def _link(self, request: Request) -> bytes:
        node = self._nodes[request.words("Q")[0]]
        node.links += 1
        self._names[request.names(8)[0]] = node.number
        return pack_entry(node.attributes())

    def _create(self, request: Request) -> bytes:
        node = self._new_node(stat.S_IFREG | stat.S_IMODE(request.words("II")[1]))
        if request.op == Op.CREATE:
            self._names[request.names(16)[0]] = node.number
            node.links = 1
        elif not self._unnamed:
            raise OSError(errno.ENOSYS, "")
        return pack_entry(node.attributes()) + pack_opened()

    def _open(self, _request: Request) -> bytes:
        return pack_opened()

    def _read(self, request: Request) -> bytes:
        _, offset, size = request.words("QQI")
        return bytes(self._nodes[request.node].content[offset : offset + size])

    def _write(self, request: Request) -> bytes:
        _, offset, size = request.words("QQI")
        content = self._nodes[request.node].content
        content.extend(bytes(max(0, offset - len(content))))
        content[offset : offset + size] = request.body[40 : 40 + size]
        return size.to_bytes(4, "little") + bytes(4)

    def _statfs(self, _request: Request) -> bytes:
        return pack_room(_ROOM_BLOCKS, _ROOM_BLOCKS)

    def _fsync(self, request: Request) -> bytes:
        node = self._nodes[request.node]
        node.synced = bytes(node.content)
        return b""

    def _fsyncdir(self, _request: Request) -> bytes:
        self._synced_names = dict(self._names)
        return b""

    def _readdir(self, request: Request) -> bytes:
        _, offset, size = request.words("QQI")
        entries = [(name, self._node(number)) for name, number in self._names.items()]
        return pack_listing(entries, offset, size)

    def _nothing(self, _request: Request) -> bytes:
        return b""


_STEPS = frozenset({Op.TMPFILE, Op.CREATE, Op.WRITE, Op.FSYNC, Op.LINK, Op.RENAME, Op.RENAME2, Op.UNLINK, Op.FSYNCDIR})
_ANSWERS: Mapping[int, Callable[[FaultFs, Request], bytes]] = {
    Op.INIT: FaultFs._init,
    Op.LOOKUP: FaultFs._lookup,
    Op.GETATTR: FaultFs._getattr,
    Op.SETATTR: FaultFs._setattr,
    Op.UNLINK: FaultFs._unlink,
    Op.RENAME: FaultFs._rename,
    Op.RENAME2: FaultFs._rename,
    Op.LINK: FaultFs._link,
    Op.OPEN: FaultFs._open,
    Op.READ: FaultFs._read,
    Op.WRITE: FaultFs._write,
    Op.STATFS: FaultFs._statfs,
    Op.RELEASE: FaultFs._nothing,
    Op.FSYNC: FaultFs._fsync,
    Op.OPENDIR: FaultFs._open,
    Op.READDIR: FaultFs._readdir,
    Op.RELEASEDIR: FaultFs._nothing,
    Op.FSYNCDIR: FaultFs._fsyncdir,
    Op.CREATE: FaultFs._create,
    Op.TMPFILE: FaultFs._create,
    **dict.fromkeys((Op.FORGET, Op.BATCH_FORGET, Op.INTERRUPT), FaultFs._nothing),
}


@contextlib.contextmanager
def fault_fs(folder: Path, *, unnamed: bool = True, read_only: bool = False) -> Iterator[tuple[FaultFs, Path]]:
    """A mounted file system and the path to it. Without `unnamed` it has no O_TMPFILE."""
    with mounted("fuse", folder, read_only=read_only) as (path, fd):
        fs = FaultFs(fd, unnamed=unnamed)
        stop_fd, stop = os.pipe()
        thread = threading.Thread(target=fs.run, args=(stop_fd,))
        thread.start()
        try:
            os.stat(path)  # until its attributes have been asked for, the kernel takes the folder to be root's
            yield fs, path
        finally:
            os.close(stop)
            thread.join()
            os.close(stop_fd)
    assert not fs.broken, fs.broken
