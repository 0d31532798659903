"""What a request means to this server, whichever way it came: the file behind a name, and the record of what became
of it.

Datagrams (`session`) and streams (`connection`) differ in how blocks move. They may not differ in who gets which file,
what is refused and what the log says, so all of that is here, once.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from blockstep.exits import exit_code_of
from blockstep.protocol.errors import RemoteError, TransferFailed
from blockstep.protocol.machine import TransferStats
from blockstep.protocol.options import Agreed
from blockstep.protocol.wire import Opcode, OptionAck, Request
from blockstep.transport.files import FileSource, NetasciiSink, NetasciiSource, Sink, Source
from blockstep.transport.recording import Recorder
from blockstep.transport.sized import SizedSink
from blockstep_server.config import ServerConfig
from blockstep_server.paths import Root
from blockstep_server.report import Result, TransferRecord
from blockstep_server.sandbox import Hold, Needs, Sandbox
from blockstep_server.telling import Telling
from blockstep_server.upload_policy import open_upload

__all__ = ["Account", "Service"]


@dataclass(frozen=True, slots=True)
class Service:
    """What every session of a server shares. `recorder` notes all datagrams, for `--pcap`."""

    config: ServerConfig
    root: Root
    sandbox: Sandbox = field(default_factory=Sandbox)
    recorder: Recorder | None = None

    def fds(self) -> tuple[int, ...]:
        """The descriptors that a child has to keep open."""
        capture = () if self.recorder is None else (self.recorder.writer.fileno(),)
        return (self.root.fileno(), *self.sandbox.fds(), *capture)

    @property
    def needs(self) -> Needs:
        """What a child must be able to do before its request has been read."""
        # The kernel's limit would hold for a capture too, which grows with every transfer; the sink keeps ours anyway.
        upload_bytes = None if self.recorder is not None else self.config.max_upload_bytes
        return Needs(uploads=self.config.writable, upload_bytes=upload_bytes)

    def open_source(self, request: Request, *, confine: bool = False) -> Source:
        """The file that a read request names, as it travels in its mode. RemoteError if there is none for the peer.

        `confine`: this process will never open another one, and gives up whatever it could do that for.
        """
        fd, _status = self.root.open_for_reading(request.filename)
        source = FileSource(fd)
        if confine:
            self.sandbox.confine(Hold(size_bytes=source.size_bytes))
        return NetasciiSource(source) if request.mode == "netascii" else source

    def open_sink(self, request: Request, agreed: Agreed, *, confine: bool = False) -> Sink:
        """Where what a write request sends will go. RemoteError if the peer may not, before anything has come.

        A size that was agreed on is held to: an upload that was cut short is not taken for a whole one. `confine` as
        for `open_source`.
        """
        sink = open_upload(
            self.root,
            request.filename,
            self.config.uploads,
            expected_bytes=agreed.tsize,
            max_bytes=self.config.max_upload_bytes,
        )
        if confine:
            try:
                self.sandbox.confine(Hold(upload_dir_fd=sink.directory_fd))
            except BaseException:  # a stop of the server, too
                sink.abort()
                raise
        if request.mode == "netascii":
            return NetasciiSink(sink)
        return sink if agreed.tsize is None else SizedSink(sink, agreed.tsize)


class Account:
    """The record of one request while it is written. `record` is what is known so far."""

    def __init__(self, blank: TransferRecord, telling: Telling, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.record = blank
        self._telling = telling
        self._clock = clock
        self._started_s = clock()

    def asked(self, request: Request) -> None:
        """The request has been read."""
        op = "read" if request.opcode is Opcode.RRQ else "write"
        self.record = replace(self.record, op=op, file=request.filename, mode=request.mode)

    def granted(self, oack: OptionAck | None) -> None:
        """The options have been negotiated; the answer holds what the peer is told."""
        if oack is not None:
            self.record = replace(self.record, options={name: int(value) for name, value in oack.options})

    def began(self) -> None:
        """Everything is open and agreed; blocks will move."""
        self._telling.began(self.record)

    def progress(self, done_bytes: int, resends: int) -> None:
        """How far it is (`blockstep.transport.pump.Progress`)."""
        self._telling.progress(done_bytes, resends)

    def proven(self) -> None:
        """The peer is where its packets say."""
        self._telling.proven()

    def settled(self, heard_ns: int) -> None:
        """Nothing more is wanted of the peer, whose last datagram came at `heard_ns` (`Endpoint.arrived_ns`)."""
        self._telling.settled(heard_ns)

    def left(self, datagram_untrusted: bytes) -> None:
        """The peer has asked for more, and that is for somebody else to serve."""
        self._telling.left(datagram_untrusted)

    @property
    def told_the_size(self) -> bool:
        """True if the peer asked for the size of a file and has been told."""
        return self.record.op == "read" and "tsize" in self.record.options

    def ended(
        self,
        failure: RemoteError | TransferFailed | None = None,
        *,
        stats: TransferStats | None = None,
        payload_bytes: int = 0,
        ended_at: float | None = None,
        is_probe: bool = False,
    ) -> TransferRecord:
        """The whole record. `failure` None: the file arrived. `is_probe`: the peer wanted the size only, and has it."""
        stats = stats or TransferStats()
        return replace(
            self.record,
            seconds=(self._clock() if ended_at is None else ended_at) - self._started_s,
            result=Result.PROBE if is_probe else _result_of(failure),
            code=None if failure is None or failure.code is None else int(failure.code),
            detail=str(failure or ""),
            status=0 if failure is None or is_probe else exit_code_of(failure),
            payload_bytes=payload_bytes,
            blocks=stats.blocks,
            resends=stats.resends,
            needless=stats.needless,
            timeouts=stats.timeouts,
            duplicates=stats.duplicates,
        )


def _result_of(failure: RemoteError | TransferFailed | None) -> Result:
    if failure is None:
        return Result.COMPLETE
    return Result.REFUSED if isinstance(failure, RemoteError) else Result.FAILED
