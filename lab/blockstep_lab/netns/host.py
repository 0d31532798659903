"""One host of a running lab, and what can be run on it.

Decided here: what runs on a host is a child of the program that asked, with the usual objects of the standard library;
only its network is another. Programs end with ours, at the latest. Not known here: the link.
"""

from __future__ import annotations

import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from select import select
from typing import Any, Generic, TypeVar

from blockstep.protocol.errors import LocalError
from blockstep_lab.netns.forked import fork_child, quiet_fork, reap
from blockstep_lab.netns.namespaces import Namespaces
from blockstep_server.kernel import die_with_parent

__all__ = ["Host", "Task"]

_T = TypeVar("_T")
_CHUNK = 1 << 16
_PATIENCE_S = 2.0


class Task(Generic[_T]):
    """A function that runs in a forked child, on a host. Get its `result`, or `kill` it."""

    def __init__(self, pid: int, results: int) -> None:
        self.pid = pid
        self._results = results
        self._received = b""
        self._reaped = False

    def result(self, timeout_s: float | None = None) -> _T:
        """Waits for the function; what it raised is raised here. TimeoutError; LocalError if the child just died."""
        while chunk := self._more(timeout_s):
            self._received += chunk
        status = self._end()
        if not self._received:
            raise LocalError(f"the function's process ended without a result, status {status}")
        succeeded, value = pickle.loads(self._received)
        if not succeeded:
            raise value
        result: _T = value
        return result

    def kill(self) -> None:
        """Ends it without a result; nothing happens if it is over."""
        if not self._reaped:
            os.kill(self.pid, signal.SIGKILL)
            self._end()

    def _more(self, timeout_s: float | None) -> bytes:
        if self._reaped:
            return b""
        if not select([self._results], [], [], timeout_s)[0]:
            raise TimeoutError(f"the function has not ended after {timeout_s} s")
        return os.read(self._results, _CHUNK)

    def _end(self) -> int:
        if self._reaped:
            return 0
        self._reaped = True
        os.close(self._results)
        return reap(self.pid, _PATIENCE_S)


class Host:
    """A host with its `name` and IPv4 `address`. Several threads may use it, each for what it starts itself."""

    def __init__(self, name: str, address: str, namespaces: Namespaces) -> None:
        self.name = name
        self.address = address
        self.namespaces = namespaces
        self._programs: list[subprocess.Popen[Any]] = []
        self._tasks: list[Task[Any]] = []

    def popen(self, argv: Sequence[str | os.PathLike[str]], **options: Any) -> subprocess.Popen[Any]:
        """Starts a program on this host; `options` as for `subprocess.Popen`, except `preexec_fn`, which is taken."""
        if "preexec_fn" in options:
            raise LocalError("preexec_fn is how a program gets onto its host; use start() for code of your own")
        with quiet_fork():
            program: subprocess.Popen[Any] = subprocess.Popen(argv, preexec_fn=self._entrance(), **options)  # noqa: PLW1509
        self._programs.append(program)
        return program

    def run(
        self,
        argv: Sequence[str | os.PathLike[str]],
        *,
        input: str | bytes | None = None,  # noqa: A002 - subprocess.run's name for it
        timeout: float | None = None,
        capture_output: bool = False,
        check: bool = False,
        **options: Any,
    ) -> subprocess.CompletedProcess[Any]:
        """Runs a program on this host to its end; everything as for `subprocess.run`, except `preexec_fn`."""
        if capture_output:
            options |= {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        if input is not None:
            options["stdin"] = subprocess.PIPE
        with self.popen(argv, **options) as program:
            try:
                out, error = program.communicate(input, timeout)
            except BaseException:
                program.kill()
                raise
            finally:
                self._programs.remove(program)
        result = subprocess.CompletedProcess(argv, program.returncode, out, error)
        if check:
            result.check_returncode()
        return result

    def start(self, function: Callable[..., _T], *arguments: Any) -> Task[_T]:
        """Runs a function on this host, in a child forked now; arguments are copied by the fork, the result pickled."""
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        results, theirs = os.pipe()
        enter = self._entrance()

        def body() -> None:
            os.close(results)
            enter()
            _deliver(theirs, function, arguments)

        try:
            task: Task[_T] = Task(fork_child(body), results)
        finally:
            os.close(theirs)
        self._tasks.append(task)
        return task

    def call(self, function: Callable[..., _T], *arguments: Any, timeout_s: float | None = None) -> _T:
        """What a function gives when it runs on this host; it is killed when its time is over (TimeoutError)."""
        task = self.start(function, *arguments)
        try:
            return task.result(timeout_s)
        finally:
            task.kill()
            self._tasks.remove(task)

    def open_socket(
        self, family: int = socket.AF_INET, kind: int = socket.SOCK_DGRAM, protocol: int = 0
    ) -> socket.socket:
        """A socket that lives on this host, in the hands of the program that asked: it may have one on each host."""
        ours, theirs = socket.socketpair()
        enter = self._entrance()

        def body() -> None:
            enter()
            with socket.socket(family, kind, protocol) as made:
                socket.send_fds(theirs, [b"."], [made.fileno()])

        with ours:
            with theirs:
                pid = fork_child(body)
            _, descriptors, _, _ = socket.recv_fds(ours, 1, 1)
        if reap(pid, _PATIENCE_S) or not descriptors:
            raise LocalError(f"no socket could be opened on {self.name}; the reason is above")
        return socket.socket(family, kind, protocol, fileno=descriptors[0])

    def end_everything(self) -> None:
        """Asks the programs that were started here to end, kills those that do not, and waits for all of them."""
        running = [program for program in self._programs if program.poll() is None]
        for program in running:
            program.terminate()
        for program in running:
            try:
                program.wait(_PATIENCE_S)
            except subprocess.TimeoutExpired:
                program.kill()
                program.wait()
        for task in self._tasks:
            task.kill()
        self._programs.clear()
        self._tasks.clear()

    def _entrance(self) -> Callable[[], None]:
        """For the child: onto the host, and a death with its parent."""
        # The kernel means the *thread* that forked: for another than the main one, the router is the one who cleans up.
        dies_with_parent = threading.current_thread() is threading.main_thread()
        namespaces = self.namespaces

        def enter() -> None:
            namespaces.enter()
            if dies_with_parent:
                die_with_parent(signal.SIGKILL)

        return enter


def _deliver(results: int, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    try:
        answer = pickle.dumps((True, function(*arguments)))
    except Exception as error:  # noqa: BLE001 - it is raised again where the result is asked for
        answer = _pickled_error(error)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    with open(results, "wb") as pipe:
        pipe.write(answer)


def _pickled_error(error: Exception) -> bytes:
    try:
        pickled = pickle.dumps((False, error))
        pickle.loads(pickled)
    except Exception:  # noqa: BLE001 - an exception of any class may refuse in any way
        return pickle.dumps((False, LocalError(f"{type(error).__name__}: {error}")))
    return pickled
