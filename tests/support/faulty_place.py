"""A server whose folder fails or waits where a test says so, and real clients that bring files to it.

Decided here: every upload has a name of its own that held the old content before, so that one server and its log serve
many tests; and a server that has been killed is replaced by the next, which has to clean up behind it.
"""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from blockstep_client.command import put
from support.aftermath import NEW, OLD, SAMPLE, assert_all_complete, hidden_in
from support.client_process import ClientProcess
from support.fault_fs import fault_fs
from support.transports import TransportServer, transport_server

__all__ = ["KINDS", "Place"]

KINDS = ("udp", "tcp")


class Place:
    """A folder that waits where it is told to, the server on it, and a new one when that has died.

    Without `unnamed` the folder has no O_TMPFILE, so that an upload has a hidden name from its start.
    """

    def __init__(self, folder: Path, sent: Path, *, unnamed: bool = True) -> None:
        self._until_the_end = ExitStack()
        self._life = ExitStack()
        self.fs, self.folder = self._until_the_end.enter_context(fault_fs(folder, unnamed=unnamed))
        self.fs.write("sample", SAMPLE)
        self.sent = sent
        sent.write_bytes(NEW)
        self._server: TransportServer | None = None
        self._names = 0

    def server(self) -> TransportServer:
        """The server that lives."""
        if self._server is None or self._server.process.poll() is not None:
            self._life.close()
            made = transport_server("tcp", self.folder, "--upload", "replace", "--timeout", "0.5", "--retries", "20")
            self._server = self._life.enter_context(made)
        return self._server

    def new_name(self) -> str:
        """A name that holds the old content and is in no log."""
        self._names += 1
        name = f"target{self._names}"
        self.fs.heal()
        self.fs.write(name, OLD)
        return name

    def put(self, kind: str, name: str, *words: str, stdin_fd: int | None = None) -> ClientProcess:
        """A client that replaces it, from standard input where there is one."""
        scheme = "tftp" if kind == "udp" else "tftp+tcp"
        url = f"{scheme}://{self.server().door(kind)}/{name}"
        window = ("-w", 4) if kind == "udp" else ()
        source = self.sent if stdin_fd is None else "-"
        return ClientProcess(put, "-b", 8192, *window, *words, source, url, stdin_fd=stdin_fd)

    def assert_holds(self, name: str, content: bytes) -> None:
        """The name holds that, every other one something complete; so it is too when the power fails now."""
        assert self.fs.files()[name] == content
        for files in (self.fs.files(), *self.fs.after_power_loss()):
            assert_all_complete(files)

    def close(self) -> None:
        """Start again, look, and stop: no temporary is left by anybody."""
        try:
            server = self.server()
            server.process.kill()  # a stop would look for temporaries before the start that takes them away
            server.process.wait()
            self.server()
            assert hidden_in(self.folder) == []
            self._life.close()
        finally:
            self._until_the_end.close()
