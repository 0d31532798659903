"""A real `blockstep serve`, as its users start it, and what must be true of it when it stops.

`running_server` is `Supervised` with the real command line: the same log in JSON lines, the same look at the process
from outside. Decided here: a server that is told to stop has no child, no zombie and no descriptor more than when it
was ready, leaves no temporary below its root and nobody in its process group, and ends with status 0. A test that uses
it tests that too.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from blockstep.transport.atomic import HIDDEN_PREFIX
from support.supervised import DEADLINE_S, Supervised

__all__ = ["HAS_IPV6", "RunningServer", "own_loopback_host", "running_server"]


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


HAS_IPV6 = _has_ipv6()
_BINDS = ("-b", "127.0.0.1:0", *(("-b", "[::1]:0") if HAS_IPV6 else ()))


def own_loopback_host() -> str:
    """An IPv4 loopback address that no other process of the tests has.

    On 127.0.0.1 ports are used again within seconds, so a test that opens hundreds hears late packets of the one before
    it, or of one that runs beside it.
    """
    number = os.getpid()
    return f"127.{64 + number // 65536 % 64}.{number // 256 % 256}.{number % 256}"


class RunningServer(Supervised):
    """The server process. `records` and `notes` are the transfers and the sentences that its log has told so far."""

    def __init__(self, argv: list[str], **popen: Any) -> None:
        super().__init__(argv, **popen)
        self.records: list[dict[str, Any]] = []
        self.notes: list[str] = []

    def __enter__(self) -> Self:
        super().__enter__()
        self.idle_descriptors = self.descriptors()
        return self

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)
        if not error or error[0] is not None:
            self._end_group()  # a test that failed in the middle leaves children of the server: they are ours to end

    def _end_group(self) -> None:
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            return

    def peer(self, ipv6: bool = False) -> tuple[str, int]:
        """(host, port) where it listens."""
        for listed in self.ready["addresses"]:
            host, _, port = listed.split()[0].rpartition(":")
            if (host == "[::1]") == ipv6:
                return host.strip("[]"), int(port)
        raise AssertionError(f"it listens on {self.ready['addresses']} only")

    def url(self, name: str, ipv6: bool = False) -> str:
        """The address of a file, as our own client takes it."""
        host, port = self.peer(ipv6)
        return f"tftp://{f'[{host}]' if ipv6 else host}:{port}/{name}"

    def events(self) -> Iterator[dict[str, Any]]:
        """As in `Supervised`; keeps what was said."""
        for event in super().events():
            if event["event"] == "transfer":
                self.records.append(event)
            elif event["event"] == "note":
                self.notes.append(event["message"])
            yield event

    def await_record(self, file: str) -> dict[str, Any]:
        """The next record that the log has of a transfer of `file`."""
        while (record := self.await_event("transfer"))["file"] != file:
            pass
        return record

    def await_idle(self) -> None:
        """Wait until the last child has been waited for. A child that lives has its line in the log still to come."""
        while self.children():
            self.await_event("transfer")

    def _await_idle_descriptors(self) -> None:
        """What a transfer held is closed a moment after its child has been waited for."""
        until = time.monotonic() + DEADLINE_S
        while (descriptors := self.descriptors()) != self.idle_descriptors:
            assert time.monotonic() < until, f"{descriptors} are open where {self.idle_descriptors} were"
            time.sleep(0.001)

    def dropped_by_kernel(self) -> int:
        """Datagrams that found its first listening socket full."""
        port = f":{self.address[1]:04X}"
        with open("/proc/net/udp") as table:
            return sum(int(line.split()[-1]) for line in table if line.split()[1].endswith(port))

    def resident_kib(self) -> int:
        """Memory of the supervisor that is its own and in use (RssAnon)."""
        with open(f"/proc/{self.pid}/status") as status:
            return next(int(line.split()[1]) for line in status if line.startswith("RssAnon"))

    def stop_and_check(self, root: Path, *, status: int = 0) -> None:
        """Stop it and look at what it leaves: AssertionError if that is anything."""
        self.await_idle()
        self._await_idle_descriptors()
        self.process.send_signal(signal.SIGTERM)
        broken = [event for event in self.events() if event["event"] == "traceback"]
        assert not broken, broken
        assert self.process.wait(30) == status
        assert not _group_lives(self.pid), "somebody of the server's process group is left"
        left = list(root.rglob(HIDDEN_PREFIX + "*"))
        assert not left, f"temporaries are left: {left}"
        assert not [record for record in self.records if record["result"] == "crashed"]


@contextmanager
def running_server(root: Path, *options: str) -> Iterator[RunningServer]:
    """`blockstep serve` on free ports of the loopback addresses; checked and gone afterwards.

    `options` stand after our own; one of them that is `-b` replaces both addresses. Started by root it stays root, for
    a test's directory is nobody else's to read.
    """
    binds = () if "-b" in options else _BINDS
    user = () if "--user" in options or os.geteuid() else ("--user", "root")
    serve = [sys.executable, "-W", "error", "-m", "blockstep", "serve", os.fspath(root)]
    argv = [*serve, "--log-format", "json", "-v", *binds, *user, *options]
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with RunningServer(argv, env=environ, start_new_session=True) as server:
        yield server
        server.stop_and_check(root)


def _group_lives(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True
