"""The loop of the server: listeners, children, signals and timers, in one process that never has a second thread.

Rules: nothing that came over a network is parsed here; listeners hand over tasks, children do them. A signal handler
does nothing but write a byte (the wake-up descriptor of the signal module); the loop reads it. A stop goes through
phases and every further signal skips to the next one: no new requests and a grace for those who live, TERM, KILL. The
loop ends when the last child has been waited for.

A listener is anything with `fileno`, `handle_readable` and `close`. It is called when there is something to read, does
a bounded amount of work and returns, so that children are waited for between two batches.

A connection that serves transfers one after another must not hold up a stop: as soon as nothing is under way on it, it
is told to end.
"""

from __future__ import annotations

import gc
import os
import selectors
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import IntEnum
from typing import Protocol

from blockstep_server.admission import Admission
from blockstep_server.child import HANDLERS
from blockstep_server.children import Child, Children, Task
from blockstep_server.report import Reporter, Result, TransferRecord
from blockstep_server.tally import Tally
from blockstep_server.timers import Timer, Timers

__all__ = ["Host", "Listener", "Phase", "Supervisor"]


class Listener(Protocol):
    """Something that brings work, or asks questions."""

    def fileno(self) -> int:
        """The descriptor to watch."""

    def handle_readable(self) -> None:
        """Do some of what there is to do, and return."""

    def close(self) -> None:
        """Stop listening."""


class Host(Protocol):
    """What a listener needs of whom it brings work to."""

    @property
    def admission(self) -> Admission:
        """Who may have a place."""

    def spawn(self, task: Task) -> object:
        """Have a task done. OSError if there is no room for it."""

    def refuse(self, reason: str, source: str) -> None:
        """Count who is turned away."""

    def rest(self, listener: Listener, seconds: float) -> None:
        """Leave the listener alone for so long: it cannot take what is there."""


class Phase(IntEnum):
    """How far a stop has come."""

    SERVING = 0
    DRAINING = 1
    TERMINATING = 2
    KILLING = 3


_TERM_GRACE_S = 3.0
_KILL_AGAIN_S = 1.0
_REFUSALS_EVERY_S = 1.0
_LOG_AGAIN_S = 0.05
_LAST_LINES_S = 1.0
_STOP_SIGNALS = frozenset({signal.SIGTERM, signal.SIGINT})


class Supervisor:
    """One server process. Make it, add listeners, `run` it once.

    `on_stop` is called when a stop begins (to tell a service manager), `on_reload` for SIGHUP. `board_slots`: how many
    children can be watched at one time. With `one_off`, the first transfer that is not a mere probe begins the stop,
    and its status becomes that of `run`.
    """

    def __init__(
        self,
        admission: Admission,
        reporter: Reporter,
        *,
        drain_timeout_s: float = 30.0,
        one_off: bool = False,
        on_stop: Callable[[], object] = lambda: None,
        on_reload: Callable[[], object] = lambda: None,
        board_slots: int = 1024,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.admission = admission
        self.reporter = reporter
        self.timers = Timers()
        self.clock = clock
        self.children = Children(self._account, orphaned=reporter.transfer_alone, board_slots=board_slots)
        self.tally = Tally()
        self.drain_timeout_s = drain_timeout_s
        self.started_s = clock()
        self.phase = Phase.SERVING
        self._one_off = one_off
        self._on_stop = on_stop
        self._on_reload = on_reload
        self._status = 0
        self._stopped_by = signal.SIGTERM
        self._next_phase: Timer | None = None
        self._refusals_told: Timer | None = None
        self._listeners: list[Listener] = []
        self._selector = selectors.DefaultSelector()
        self.watch(self.children.fileno(), self.children.hear)

    # What listeners use

    def add_listener(self, listener: Listener) -> None:
        """Watch a listener until the stop begins."""
        self._listeners.append(listener)
        self.watch(listener.fileno(), listener.handle_readable)

    def rest(self, listener: Listener, seconds: float) -> None:
        """Do not watch a listener for so long, because it cannot take what is there and would be called without end."""
        self.unwatch(listener.fileno())
        self.timers.call_at(self.clock() + seconds, lambda: self._wake(listener))

    def _wake(self, listener: Listener) -> None:
        if listener in self._listeners:
            self.watch(listener.fileno(), listener.handle_readable)

    def watch(self, fd: int, callback: Callable[[], object], events: int = selectors.EVENT_READ) -> None:
        """Call `callback` when `fd` is ready, until `unwatch`; of a descriptor that is watched, change what for."""
        self.unwatch(fd)
        self._selector.register(fd, events, callback)

    def unwatch(self, fd: int) -> None:
        """Watch `fd` no longer, if it is watched."""
        if fd in self._selector.get_map():
            self._selector.unregister(fd)

    def spawn(self, task: Task) -> Child:
        """Fork a child for `task` and hold its place until it has ended. OSError if the system has no room for it."""
        child = self.children.fork(task, self.clock())
        child.place = self.admission.occupy(task.claim, child.outlook)
        return child

    def refuse(self, reason: str, source: str) -> None:
        """Count a request that gets no child. The first is told at once, what follows once a second at most."""
        self.reporter.count_refusal(reason, source)
        self.tally.add_refusal(reason)
        if self._refusals_told is None:
            self._tell_refusals()

    def _tell_refusals(self) -> None:
        told = self.reporter.flush_refusals()
        again_at = self.clock() + _REFUSALS_EVERY_S
        self._refusals_told = self.timers.call_at(again_at, self._tell_refusals) if told else None

    # The loop

    def run(self, ready: Callable[[], object] = lambda: None) -> int:
        """Serve until stopped. Returns 0, or 128 + signal if a stop had to cut transfers, or the one-off's status.

        `ready` is called when requests and signals are looked after: the moment to tell the world.
        """
        gc.collect()
        gc.freeze()  # else every child's first collection would copy the whole heap
        with self._signals_wake_us():
            ready()
            while self.phase is Phase.SERVING or len(self.children):
                for key, _ in self._selector.select(self._sleep_s()):
                    if self._is_watched(key):
                        key.data()
                self.timers.run_due(self.clock())
                self.reporter.output.flush()
        self.reporter.flush_refusals()
        self.reporter.output.flush(_LAST_LINES_S)
        self._selector.close()
        self.children.close()
        return self._status

    def _is_watched(self, key: selectors.SelectorKey) -> bool:
        """Still, and for the same: it may have been closed earlier in this turn, and another opened of its number."""
        return self._selector.get_map().get(key.fd) is key

    def _sleep_s(self) -> float | None:
        sleep_s = self.timers.timeout_s(self.clock())
        if not self.reporter.output.waits:
            return sleep_s
        return _LOG_AGAIN_S if sleep_s is None else min(sleep_s, _LOG_AGAIN_S)

    def stop(self) -> None:
        """Begin to stop, or go on to the next phase if that has begun."""
        if self._next_phase is not None:
            self._next_phase.cancel()
        self.phase = Phase(min(self.phase + 1, Phase.KILLING))
        wait_s = _PHASES[self.phase](self)
        self._next_phase = self.timers.call_at(self.clock() + wait_s, self.stop)

    def _drain(self) -> float:
        self._on_stop()
        self._close_listeners()
        waiting = [child for child in self.children if child.waits]
        for child in waiting:
            os.kill(child.pid, signal.SIGTERM)
        left = len(self.children) - len(waiting)
        if left:
            self.reporter.note(f"stopping: waiting up to {self.drain_timeout_s:g} s for {left} transfers")
        return self.drain_timeout_s

    def _terminate(self) -> float:
        self._cut(signal.SIGTERM)
        return _TERM_GRACE_S

    def _kill(self) -> float:
        self._cut(signal.SIGKILL)
        return _KILL_AGAIN_S

    def _cut(self, number: signal.Signals) -> None:
        if len(self.children):
            self.reporter.note(f"stopping: {number.name} to {len(self.children)} transfers", -1)
            self.children.signal_all(number)
            self._status = self._status or 128 + self._stopped_by

    def _reap(self) -> None:
        ended = self.children.reap()
        for child, _ in ended:
            if child.place is not None:
                self.admission.release(child.place)
                child.place = None  # it can ask the child, and the two would wait together for the garbage collector
        for child, record in ended:
            if record is not None:
                self._account(child, record)
        # Only now: who follows needs the places of all who have gone. The youngest first: of two that were asked in the
        # same words it is the one that may have been asked again.
        for child, _ in sorted(ended, key=lambda each: each[0].started_s, reverse=True):
            child.task.afterwards(child.legacy)

    def _account(self, child: Child, record: TransferRecord) -> None:
        """A request has ended; its child may live on."""
        self.tally.add(record)
        self.reporter.transfer(record)
        if self._one_off and self.phase is Phase.SERVING and _counts(record):
            self._status = record.status
            self.stop()
        elif self.phase is not Phase.SERVING and child.waits:
            os.kill(child.pid, signal.SIGTERM)

    # Signals

    @contextmanager
    def _signals_wake_us(self) -> Iterator[None]:
        read_fd, write_fd = os.pipe()
        os.set_blocking(read_fd, False)
        os.set_blocking(write_fd, False)
        self.watch(read_fd, lambda: self._handle_signals(read_fd))
        before = {number: signal.signal(number, handler) for number, handler in HANDLERS.items()}
        previous_fd = signal.set_wakeup_fd(write_fd, warn_on_full_buffer=False)
        try:
            yield
        finally:
            signal.set_wakeup_fd(previous_fd)
            for number, handler in before.items():
                signal.signal(number, handler)
            self.unwatch(read_fd)
            os.close(read_fd)
            os.close(write_fd)

    def _handle_signals(self, read_fd: int) -> None:
        numbers = os.read(read_fd, 4096)  # readable, or we were not called
        self._reap()
        for number in _STOP_SIGNALS.intersection(numbers):
            self._stopped_by = signal.Signals(number)
            self.stop()
        if signal.SIGHUP in numbers:
            self._on_reload()

    def _close_listeners(self) -> None:
        for listener in self._listeners:
            self.unwatch(listener.fileno())
            listener.close()
        self._listeners.clear()


_PHASES: dict[Phase, Callable[[Supervisor], float]] = {
    Phase.DRAINING: Supervisor._drain,
    Phase.TERMINATING: Supervisor._terminate,
    Phase.KILLING: Supervisor._kill,
}


def _counts(record: TransferRecord) -> bool:
    return record.result not in (Result.PROBE, Result.IGNORED)
