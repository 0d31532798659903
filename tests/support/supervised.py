"""A real supervisor in a process of its own, with a body for its children that a test chooses by name.

Forks are not made in the test process itself: it has threads under pytest-xdist, and `waitpid(-1)` would take other
tests' children. Run as `python -m support.supervised OPTIONS`, OPTIONS being JSON. The log is JSON lines on stderr; the
first has the address, the last what the process looked like at the end.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from select import select
from typing import Any, NoReturn, Self

from blockstep_server.admission import Admission, Policy
from blockstep_server.child import Body
from blockstep_server.config import LogFormat
from blockstep_server.listen import Arrival, open_udp
from blockstep_server.log_output import LogOutput
from blockstep_server.reply import ReplySockets, open_fresh_port
from blockstep_server.report import Reporter, Result, TransferRecord
from blockstep_server.supervisor import Supervisor
from blockstep_server.telling import Telling
from blockstep_server.udp import UdpListener, blank_record
from blockstep_server.values import Bind

DEADLINE_S = 30.0
REQUEST = b"\0\1file\0octet\0"


class Supervised:
    """The process, seen from the test. A context manager: at its end the process is gone."""

    def __init__(self, argv: list[str], **popen: Any) -> None:
        self.process = subprocess.Popen(argv, stderr=subprocess.PIPE, **popen)
        self._unread = b""

    @classmethod
    def with_body(cls, body: str, **options: Any) -> Self:
        """A supervisor whose children run `BODIES[body]`."""
        argv = [sys.executable, "-W", "error", "-m", "support.supervised", json.dumps({"body": body, **options})]
        return cls(argv, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})

    def __enter__(self) -> Self:
        try:
            self.ready = self.await_event("ready")
        except BaseException:
            self.__exit__()
            raise
        host, _, port = self.ready["addresses"][0].split()[0].rpartition(":")
        self.address = (host, int(port))
        return self

    def __exit__(self, *_error: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        assert self.process.stderr is not None
        self.process.stderr.close()

    @property
    def pid(self) -> int:
        return self.process.pid

    def events(self) -> Iterator[dict[str, Any]]:
        """The events of the log as they come; ends with the log, AssertionError if none comes for a long time."""
        assert self.process.stderr is not None
        fd = self.process.stderr.fileno()
        while True:
            while b"\n" in self._unread:
                line, self._unread = self._unread.split(b"\n", 1)
                yield _event(line)
            ready, _, _ = select([fd], [], [], DEADLINE_S)
            assert ready, "the server's log is silent"
            chunk = os.read(fd, 1 << 16)
            if not chunk:
                return
            self._unread += chunk

    def await_event(self, kind: str) -> dict[str, Any]:
        """The next event of that kind; those before it are passed over, but none may be a traceback."""
        for event in self.events():
            assert event["event"] != "traceback" or kind == "traceback", event
            if event["event"] == kind:
                return event
        raise AssertionError(f"the log ended without {kind!r}, exit status {self.process.wait()}")

    def await_transfers(self, count: int) -> list[dict[str, Any]]:
        return [self.await_event("transfer") for _ in range(count)]

    def children(self) -> list[int]:
        """The processes that it has, zombies included."""
        with open(f"/proc/{self.pid}/task/{self.pid}/children") as listed:
            return [int(pid) for pid in listed.read().split()]

    def descriptors(self) -> list[str]:
        return sorted(os.listdir(f"/proc/{self.pid}/fd"))

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send the signal and wait for the end; the exit status."""
        self.process.send_signal(number)
        return self.process.wait(DEADLINE_S)

    def ask(self, request: bytes = REQUEST) -> socket.socket:
        """A client that has sent its request."""
        client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        client.settimeout(DEADLINE_S)
        client.bind(("127.0.0.1", 0))
        client.sendto(request, self.address)
        return client


@contextmanager
def asked(server: Supervised, count: int = 1) -> Iterator[list[tuple[socket.socket, bytes, tuple[str, int]]]]:
    """`count` clients that have asked and were answered: (socket, answer, the server's address in it)."""
    clients = [server.ask() for _ in range(count)]
    try:
        yield [(client, *client.recvfrom(2048)) for client in clients]
    finally:
        for client in clients:
            client.close()


def _event(line: bytes) -> dict[str, Any]:
    try:
        event: dict[str, Any] = json.loads(line)
    except ValueError:
        return {"event": "traceback", "line": line.decode(errors="replace")}
    return event


# The children's bodies. Each tells its process id to whoever asked.


def _done(record: TransferRecord) -> TransferRecord:
    return replace(record, result=Result.COMPLETE, status=0)


def _answer(hot: socket.socket, record: TransferRecord) -> TransferRecord:
    hot.send(f"{os.getpid()}".encode())
    return _done(record)


def _hold(hot: socket.socket, record: TransferRecord) -> TransferRecord:
    """Until the client says something."""
    hot.send(f"{os.getpid()}".encode())
    hot.settimeout(DEADLINE_S)
    hot.recv(100)
    return _done(record)


def _refuse_to_die(hot: socket.socket, record: TransferRecord) -> TransferRecord:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    return _hold(hot, record)


def _crash(hot: socket.socket, _record: TransferRecord) -> NoReturn:
    hot.send(b"")
    raise ZeroDivisionError("on purpose")


def _die(hot: socket.socket, _record: TransferRecord) -> NoReturn:
    hot.send(b"")
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("dead")


def _tell_descriptors(hot: socket.socket, record: TransferRecord) -> TransferRecord:
    hot.send(json.dumps({fd: os.readlink(f"/proc/self/fd/{fd}") for fd in _open_fds()}).encode())
    return _done(record)


def _tell_signals(hot: socket.socket, record: TransferRecord) -> TransferRecord:
    with open("/proc/self/status") as status:
        hot.send("".join(line for line in status if line.startswith("Sig")).encode())
    return _done(record)


def _open_fds() -> list[int]:
    """Without the one that listing them takes."""
    return [fd for fd in map(int, os.listdir("/proc/self/fd")) if os.path.exists(f"/proc/self/fd/{fd}")]


BODIES: dict[str, Callable[[socket.socket, TransferRecord], TransferRecord]] = {
    "answer": _answer,
    "hold": _hold,
    "refuse_to_die": _refuse_to_die,
    "crash": _crash,
    "die": _die,
    "tell_descriptors": _tell_descriptors,
    "tell_signals": _tell_signals,
}


def _make_body(name: str, arrival: Arrival, sockets: ReplySockets | None) -> Body:
    def body(_telling: Telling) -> TransferRecord:
        mine = sockets or open_fresh_port(arrival, None, random.Random(1))
        with contextlib.closing(mine):
            return BODIES[name](mine.hot, blank_record(arrival))

    return body


def main(options: dict[str, Any]) -> int:
    """Be the supervisor."""
    reporter = Reporter(LogOutput(2), LogFormat.JSON, 1)
    admission = Admission(Policy(max_sessions=options.get("max_sessions", 1000)))
    before = _open_fds()
    supervisor = Supervisor(
        admission,
        reporter,
        drain_timeout_s=options.get("drain_timeout_s", DEADLINE_S),
        one_off=options.get("one_off", False),
        on_reload=lambda: reporter.note("SIGHUP"),
    )
    (sock,) = open_udp(Bind("127.0.0.1", 0), 0)
    make_body = partial(_make_body, options["body"])
    supervisor.add_listener(UdpListener(sock, supervisor, make_body, single_port=options.get("single_port", False)))
    if "processes_max" in options:
        _fail_forks_after(options["processes_max"])
    name = "{}:{}".format(*sock.getsockname())
    buffer_bytes = sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
    ready = partial(reporter.ready, serving="", addresses=[f"{name} (udp)"], policy=f"{buffer_bytes}", try_line="")
    started_s = time.monotonic()
    status = supervisor.run(ready)
    left = sorted(set(_open_fds()) - set(before))
    seconds = time.monotonic() - started_s
    reporter.note("ended", status=status, left_fds=left, left_places=len(admission), seconds=seconds)
    reporter.output.flush(DEADLINE_S)
    return status


def _fail_forks_after(count: int) -> None:
    """As the kernel does at the limit of processes; the limit itself does not bind root."""
    fork = os.fork

    def limited() -> int:
        nonlocal count
        if count == 0:
            raise BlockingIOError(11, os.strerror(11))
        count -= 1
        return fork()

    os.fork = limited


if __name__ == "__main__":
    sys.exit(main(json.loads(sys.argv[1])))
