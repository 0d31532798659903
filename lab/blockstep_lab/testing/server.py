"""A TFTP server that a test owns: its files, what it expects, what it was asked and what it was sent.

The server's end is made of the protocol's own machines, so a client meets a server that keeps the RFCs: options,
windows, timers, fresh ports. Decided here: which request gets which answer. The first expectation that fits and is not
used up answers; then `files`; then ERROR 1. Every write is taken, unless an expectation says otherwise.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from time import monotonic
from types import TracebackType
from typing import Self

from blockstep.protocol.errors import ErrorCode, RemoteError
from blockstep.protocol.netascii import Encoder
from blockstep.protocol.options import Limits, negotiate
from blockstep.protocol.wire import ErrorPacket, Opcode, Request, parse_request_untrusted
from blockstep_lab.parties import Party, Plan, served
from blockstep_lab.simnet import Send, SimAddress
from blockstep_lab.testing.expectations import Expectation, Name, TftpRequest, complaints
from blockstep_lab.testing.nodes import NodeLoop
from blockstep_lab.testing.sessions import Door, Session

__all__ = ["TftpServer"]

_NOT_FOUND = ErrorPacket(ErrorCode.FILE_NOT_FOUND, "file not found")
_NO_RESPONSE = ErrorPacket(ErrorCode.UNDEFINED, "the test has no response for this")


class TftpServer:
    """Serves from construction to `close`; also a context manager.

    `listen` is an address with a port, 0 for any free one; OSError if it cannot be had. `limits` is what is granted,
    `single_port` answers from the port that was asked, `strict` makes `check` complain about requests that nobody
    expected. `files` may be changed at any time, `requests` and `uploads` (by name, the newest) are for reading.
    """

    def __init__(
        self,
        listen: SimAddress = ("127.0.0.1", 0),
        *,
        limits: Limits | None = None,
        single_port: bool = False,
        strict: bool = False,
    ) -> None:
        self.files: dict[str, bytes] = {}
        self.requests: list[TftpRequest] = []
        self.uploads: dict[str, bytes] = {}
        self.strict = strict
        self._expectations: list[Expectation] = []
        self._changed = threading.Condition()
        self._loop = NodeLoop(self._settle)
        try:
            self._door = self._loop.attach(listen, lambda send: Door(send, self._take))
        except BaseException:
            self._loop.close()
            raise
        self._host = listen[0]
        self._limits = limits or Limits()
        self._single_port = single_port
        self.address: SimAddress = self._loop.address_of(self._door)
        self._loop.start()

    @property
    def host(self) -> str:
        """The address that it listens on."""
        return self.address[0]

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return self.address[1]

    def url_for(self, name: str) -> str:
        """`tftp://HOST:PORT/NAME` (RFC 3617)."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"tftp://{host}:{self.port}/{name}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Stop serving; transfers that are not finished end here. May be called twice."""
        self._loop.close()

    def expect_read(
        self,
        name: Name,
        *,
        mode: str | None = None,
        options: Mapping[str, object] | None = None,
        times: int | None = None,
    ) -> Expectation:
        """The client must read `name`; say with what `respond_with_...` is answered.

        `options`: what it must ask for, such as `{"blksize": 1428}`; others may stand beside them. `times`: exactly so
        often.
        """
        return self._expect("read", name, mode, options, times=times)

    def expect_write(
        self,
        name: Name,
        *,
        mode: str | None = None,
        options: Mapping[str, object] | None = None,
        times: int | None = None,
    ) -> Expectation:
        """The client must write `name`, as for `expect_read`; it is taken unless `respond_with_error` follows."""
        return self._expect("write", name, mode, options, times=times)

    def _expect(
        self, op: str, name: Name, mode: str | None, options: Mapping[str, object] | None, *, times: int | None
    ) -> Expectation:
        wanted = {option.lower(): str(value) for option, value in (options or {}).items()}
        expectation = Expectation(op, name, mode, wanted, times)
        self._expectations.append(expectation)
        return expectation

    def wait_idle(self, timeout_s: float = 5.0) -> bool:
        """Wait until no transfer is under way; False if one still is after `timeout_s` seconds."""
        self._loop.catch_up(timeout_s)  # a client may be gone before its last word, or its first, has been read
        with self._changed:
            return self._changed.wait_for(lambda: all(session.over for session in self._door.sessions), timeout_s)

    def check(self, *, timeout_s: float = 5.0) -> None:
        """AssertionError, with what was asked instead, unless every expectation is met. Waits for what is under way."""
        self.wait_idle(timeout_s)
        complaint = complaints(self._expectations, self.requests, strict=self.strict)
        if complaint:
            raise AssertionError(complaint)

    def story(self) -> str:
        """What was asked so far, one line for each request."""
        return "\n".join(map(str, self.requests))

    # In the loop's thread.

    def _take(self, data: bytes, client: SimAddress, now: float) -> Session | ErrorPacket:
        request = parse_request_untrusted(data)
        asked = TftpRequest.of(request, client)
        self.requests.append(asked)
        answer = self._answer(asked)
        if isinstance(answer, ErrorPacket):
            asked.outcome = f"ERROR {answer.code} {answer.message}".rstrip()
            return answer
        try:
            party = self._begin(request, client, answer, now)
        except RemoteError as error:
            asked.outcome = f"ERROR {int(error.code)} {error}"
            raise
        return Session(asked, data, party, owns_socket=not self._single_port)

    def _answer(self, asked: TftpRequest) -> bytes | ErrorPacket:
        for expectation in self._expectations:
            if expectation.answers(asked):
                expectation.asked.append(asked)
                asked.complete = expectation.error is not None
                taken = b"" if asked.op == "write" else expectation.content
                return expectation.error or (_NO_RESPONSE if taken is None else taken)
        return b"" if asked.op == "write" else self.files.get(asked.name, _NOT_FOUND)

    def _begin(self, request: Request, client: SimAddress, content: bytes, now: float) -> Party:
        reads_text = request.mode == "netascii" and request.opcode is Opcode.RRQ
        content = Encoder().encode(content) if reads_text else content
        granted = negotiate(request, self._limits, None if reads_text else len(content))
        plan = Plan(content=content, limits=self._limits)

        def serve(send: Send) -> Party:
            return served(send, client, request, plan=plan, granted=granted, now=now)

        return serve(self._door.send) if self._single_port else self._loop.attach((self._host, 0), serve)

    def _settle(self) -> None:
        """Write down what has come to its end, and let go of what is no longer needed."""
        for session in [each for each in self._door.sessions if not each.closed]:
            if not session.over and (session.party_is_over or session.has_lost_its_client(monotonic())):
                content = session.end()
                if content is not None:
                    self.uploads[session.asked.name] = content
                with self._changed:
                    session.over = True
                    self._changed.notify_all()
            if session.party.finished:
                session.closed = True
                if session.owns_socket:
                    self._loop.detach(session.party)
