"""One task in this very process, for debuggers and coverage: the loop of `serve -d`.

It stands where the supervisor stands, so listeners bring it work in the same way. It takes the first task, whatever
brings it, and then no more; nothing is watched, counted or stopped meanwhile.
"""

from __future__ import annotations

import selectors
from collections.abc import Sequence

from blockstep_server.admission import Admission
from blockstep_server.children import Task
from blockstep_server.report import Reporter, TransferRecord
from blockstep_server.supervisor import Listener
from blockstep_server.telling import Telling

__all__ = ["Unforked"]


class Unforked:
    """A host of listeners that does a task itself."""

    def __init__(self, admission: Admission, reporter: Reporter) -> None:
        self.admission = admission
        self._reporter = reporter
        self._status = 0
        self._done = False

    def run(self, listeners: Sequence[Listener]) -> int:
        """Wait for a task and do it; the status of the last request that it held."""
        with selectors.DefaultSelector() as selector:
            for listener in listeners:
                selector.register(listener.fileno(), selectors.EVENT_READ, listener)
            while not self._done:
                for key, _ in selector.select():
                    key.data.handle_readable()
        return self._status

    def spawn(self, task: Task) -> None:
        """Do it, unless one has been done."""
        if self._done:
            return
        self._done = True
        record = task.body(Telling(self._tell))
        if record is not None:
            self._tell(record)

    def refuse(self, reason: str, source: str) -> None:
        """Say it at once."""
        self._reporter.count_refusal(reason, source)
        self._reporter.flush_refusals()

    def rest(self, listener: Listener, seconds: float) -> None:
        """Nothing to do: there is one process, and it goes on trying."""

    def _tell(self, record: TransferRecord) -> None:
        self._status = record.status
        self._reporter.transfer(record)
