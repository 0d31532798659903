"""What a client was to ask, what it asked instead, and the sentence that tells both.

Decided here: when an expectation is met. A read is met when the file has been delivered (or the error told), a write
when the file has arrived. Not known here: sockets and threads.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from blockstep.protocol.wire import ErrorPacket, Opcode, Request, printable_untrusted

__all__ = ["Expectation", "Name", "TftpRequest", "complaints"]

Name = str | re.Pattern[str]
"""A file name as it stands in the request, or a pattern for the whole of it."""


@dataclass(slots=True)
class TftpRequest:
    """One request and what became of it. `op` is `read` or `write`; `options` as they were asked, names lower-case.

    `complete`: the file went over whole, or the error that was ordered was told. `outcome` is the same in words.
    """

    op: str
    name: str
    mode: str
    options: dict[str, str]
    client: tuple[str, int]
    complete: bool = False
    outcome: str = "not finished"

    @classmethod
    def of(cls, request: Request, client: tuple[str, int]) -> Self:
        """From the packet."""
        op = "read" if request.opcode is Opcode.RRQ else "write"
        return cls(op, request.filename, request.mode, dict(request.options), client)

    def __str__(self) -> str:
        details = ", ".join([self.mode, *(f"{name}={value}" for name, value in self.options.items())])
        name, host = printable_untrusted(self.name), self.client[0]
        return f"{self.op} {name!r} ({printable_untrusted(details)}) from {host}:{self.client[1]}: {self.outcome}"


@dataclass(slots=True)
class Expectation:
    """A request that a test waits for, and its answer. Made by `TftpServer.expect_read` and `expect_write`.

    `times` is how often it may be asked, and must be; None: once or more. `asked` are the requests that it answered.
    """

    op: str
    name: Name
    mode: str | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    times: int | None = None
    asked: list[TftpRequest] = field(default_factory=list)
    content: bytes | None = None
    error: ErrorPacket | None = None

    def respond_with_data(self, data: bytes) -> Self:
        """A reader gets these bytes."""
        self._only_for("read")
        self.content, self.error = bytes(data), None
        return self

    def respond_with_file(self, path: str | Path) -> Self:
        """A reader gets the bytes that are in the file now."""
        return self.respond_with_data(Path(path).read_bytes())

    def respond_with_error(self, code: int, text: str = "") -> Self:
        """The client gets an ERROR packet with this code and text."""
        self.content, self.error = None, ErrorPacket(code, text)
        return self

    def _only_for(self, op: str) -> None:
        if self.op != op:
            raise TypeError(f"a {self.op} has no data to respond with; what the client sent is in `uploads`")

    def answers(self, request: TftpRequest) -> bool:
        """True if this request is meant, and may still be asked."""
        return (
            request.op == self.op
            and (self.times is None or len(self.asked) < self.times)
            and self._is_name(request.name)
            and self.mode in (None, request.mode)
            and all(request.options.get(name) == value for name, value in self.options.items())
        )

    def _is_name(self, name: str) -> bool:
        return name == self.name if isinstance(self.name, str) else self.name.fullmatch(name) is not None

    def __str__(self) -> str:
        name = repr(self.name if isinstance(self.name, str) else self.name.pattern)
        wishes = [self.mode] if self.mode else []
        wishes += [f"{option}={value}" for option, value in self.options.items()]
        return f"{self.op} of {name}" + (f" ({', '.join(wishes)})" if wishes else "")

    def complaint(self) -> str:
        """What is wrong, or an empty text."""
        if not self.asked:
            return f"the {self} was never asked for"
        if self.op == "read" and self.content is None and self.error is None:
            return f"the {self} was asked for, and the test gave it nothing to respond with"
        complete = sum(request.complete for request in self.asked)
        if not complete:
            return f"the {self} was asked for, and did not come to its end: {self.asked[-1].outcome}"
        if self.times is not None and complete != self.times:
            return f"the {self} was completed {complete} times, not {self.times}"
        return ""


def complaints(expectations: Sequence[Expectation], requests: Sequence[TftpRequest], *, strict: bool) -> str:
    """Everything that is wrong, with what was asked; empty if all is as expected.

    `strict`: a request that nobody expected is wrong, too.
    """
    found = [complaint for each in expectations if (complaint := each.complaint())]
    expected = {id(request) for each in expectations for request in each.asked}
    if strict:
        found += [f"not expected: {request}" for request in requests if id(request) not in expected]
    if not found:
        return ""
    asked = [f"  {request}" for request in requests] or ["  nothing at all"]
    return "\n".join([*found, "what the server was asked:", *asked])
