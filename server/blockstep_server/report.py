"""What is said about transfers and the server: one record and one line for each transfer.

Decided here: the fields of a record, the words of the log, and that nothing a peer sent reaches a terminal unescaped.
How lines reach stderr is known to `log_output`.
"""

from __future__ import annotations

import json
import select
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime
from enum import StrEnum

from blockstep.protocol.wire import printable_untrusted
from blockstep_server.config import LogFormat
from blockstep_server.log_output import LogOutput

__all__ = ["Reporter", "Result", "TransferRecord"]


class Result(StrEnum):
    """How a request ended."""

    COMPLETE = "complete"
    PROBE = "probe"
    REFUSED = "refused"
    FAILED = "failed"
    IGNORED = "ignored"
    CRASHED = "crashed"


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferRecord:
    """One request and what became of it.

    `file` is as the peer sent it: escape before printing (`text` does). `detail` has been escaped by who made it.
    `options` are those that were agreed. `payload_bytes` counts file bytes, each once. `code` is the TFTP error code
    sent or received; `status` the exit status that a program would give for it. A *probe* asked for the size, was told
    and went away with an ERROR: no failure.
    """

    peer: str
    local: str = ""
    transport: str = "udp"
    op: str = ""
    file: str = ""
    mode: str = ""
    options: dict[str, float] = field(default_factory=dict)
    payload_bytes: int = 0
    seconds: float = 0.0
    blocks: int = 0
    resends: int = 0
    needless: int = 0
    timeouts: int = 0
    duplicates: int = 0
    result: Result = Result.CRASHED
    code: int | None = None
    detail: str = ""
    status: int = 1

    def to_line(self, pid: int) -> bytes:
        """The record of process `pid` as one line of at most PIPE_BUF bytes: written to a pipe it is never torn."""
        for longest in (None, 256, 32):  # in JSON one character of a name may take 12 bytes
            short = self if longest is None else replace(self, file=self.file[:longest], detail=self.detail[:longest])
            line = json.dumps({"kind": "transfer", "pid": pid, **short.facts()}).encode() + b"\n"
            if len(line) <= select.PIPE_BUF:
                return line
        return json.dumps({"kind": "transfer", "pid": pid, "peer": self.peer[:64]}).encode() + b"\n"

    def facts(self) -> dict[str, object]:
        """The fields by name. (`asdict` would copy each of them, at four times the price in a fresh child.)"""
        return {name: getattr(self, name) for name in self.__slots__}

    @classmethod
    def from_line_untrusted(cls, line: bytes) -> tuple[int, TransferRecord]:
        """(pid, record) from what `to_line` wrote; ValueError for anything else: a child had a peer's bytes in hand."""
        try:
            said = json.loads(line)
        except RecursionError:
            raise ValueError("not the record of a transfer") from None
        if not isinstance(said, dict) or said.pop("kind", None) != "transfer" or type(said.get("pid")) is not int:
            raise ValueError("not the record of a transfer")
        pid: int = said.pop("pid")
        known = {each.name for each in fields(cls)}
        if not said.keys() <= known or "peer" not in said:
            raise ValueError("a record with unknown fields")
        if not all(_FITS[name](value) for name, value in said.items()):
            raise ValueError("a record with a value of another type")
        return pid, cls(**{**said, "result": Result(said.get("result", Result.CRASHED))})

    def text(self) -> str:
        """The line for people, without time and newline."""
        what = f"{self.op or 'request'} {printable_untrusted(self.file)}".rstrip()
        over = "" if self.transport in ("udp", "unix") else f" over {printable_untrusted(self.transport)}"
        return f"{what} for {printable_untrusted(self.peer)}{over}: {_OUTCOME[self.result](self)}"


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_count(value: object) -> bool:
    return type(value) is int and abs(value) < 1 << 63


def _is_number(value: object) -> bool:
    return _is_count(value) or isinstance(value, float)


def _is_options(value: object) -> bool:
    return isinstance(value, dict) and len(value) <= 16 and all(map(_is_number, value.values()))


_FITS: dict[str, Callable[[object], bool]] = {
    **dict.fromkeys(("peer", "local", "transport", "op", "file", "mode", "result", "detail"), _is_text),
    **dict.fromkeys(("payload_bytes", "blocks", "resends", "needless", "timeouts", "duplicates", "status"), _is_count),
    "options": _is_options,
    "seconds": _is_number,
    "code": lambda value: value is None or _is_count(value),
}


def _amount(record: TransferRecord) -> str:
    rate = record.payload_bytes / record.seconds / 1e6 if record.seconds > 0 else 0.0
    return f"{record.payload_bytes} bytes in {record.seconds:.3f} s ({rate:.1f} MB/s)"


def _complete(record: TransferRecord) -> str:
    options = "".join(f", {name} {value:g}" for name, value in record.options.items() if name != "tsize")
    counters = "".join(
        f", {number} {word}"
        for number, word in (
            (record.resends, "resends"),
            (record.timeouts, "timeouts"),
            (record.duplicates, "duplicates"),
        )
        if number or (word == "resends" and record.transport == "udp")
    )
    return f"complete, {_amount(record)}, {record.mode}{options}{counters}"


def _how_far(record: TransferRecord) -> str:
    """What had moved, if it was known what should. On a stream nothing is sent again by us."""
    if not record.op:
        return ""
    return f", after {_amount(record)}" + (f", {record.resends} resends" if record.transport == "udp" else "")


def _reason(record: TransferRecord) -> str:
    code = "" if record.code is None else f" (error {record.code})"
    return f"{_one_line(record.detail) or 'no reason given'}{code}"


def _one_line(text: str) -> str:
    """Text of ours, in which a peer's words have been escaped already: a second time would only double backslashes."""
    return "".join(character if character.isprintable() else "?" for character in text)


_OUTCOME: dict[Result, Callable[[TransferRecord], str]] = {
    Result.COMPLETE: _complete,
    Result.PROBE: lambda _: "probe, asked for the size only",
    Result.REFUSED: lambda record: f"refused: {_reason(record)}",
    Result.FAILED: lambda record: f"failed: {_reason(record)}{_how_far(record)}",
    Result.IGNORED: lambda record: f"ignored: {_reason(record)}",
    Result.CRASHED: lambda record: f"crashed: {_reason(record)}",
}


class Reporter:
    """Writes the log. `verbosity` -1: problems only, 0: also transfers and the ready line, 1: also what was ignored."""

    def __init__(self, output: LogOutput, log_format: LogFormat = LogFormat.TEXT, verbosity: int = 0) -> None:
        self.output = output
        self._json = log_format is LogFormat.JSON
        self._verbosity = verbosity
        self._refusals: Counter[str] = Counter()
        self._last_refused = ""

    def ready(self, *, serving: str, addresses: Sequence[str], policy: str, try_line: str) -> None:
        """The first word of a server that is ready, with a client line to paste."""
        text = f"blockstep: serving {printable_untrusted(serving, 4096)} on {', '.join(addresses)}, {policy}"
        self._write("ready", f"{text}\n{try_line}", 0, addresses=list(addresses), root=serving, policy=policy)

    def note(self, message: str, level: int = 0, **facts: object) -> None:
        """A sentence about the server itself; `level` -1 for a problem, 1 for what only -v wants to see."""
        self._write("note", f"blockstep: {message}", level, message=message, **facts)

    def transfer(self, record: TransferRecord) -> None:
        """The line of one request that has ended."""
        level = {Result.COMPLETE: 0, Result.PROBE: 0, Result.IGNORED: 1}.get(record.result, -1)
        self._write("transfer", f"{_now():%Y-%m-%d %H:%M:%S} {record.text()}", level, **record.facts())

    def transfer_alone(self, record: TransferRecord) -> None:
        """The same in a child whose supervisor is gone. What waited for the log at its fork was told by that one."""
        self.output.forget()
        self.transfer(record)

    def count_refusal(self, reason: str, source: str) -> None:
        """Count a request that was turned away: a flood of requests must not become a flood of lines."""
        self._refusals[reason] += 1
        self._last_refused = source

    def flush_refusals(self) -> bool:
        """Say in one line what was turned away since the last time; False if nothing was."""
        if not self._refusals:
            return False
        reasons = ", ".join(f"{number} {reason}" for reason, number in self._refusals.items())
        counts, self._refusals = dict(self._refusals), Counter()
        self.note(f"not served: {reasons}; the last from {self._last_refused}", -1, refused=counts)
        return True

    def _write(self, event: str, text: str, level: int, **facts: object) -> None:
        if level > self._verbosity:
            return
        line = text
        if self._json:
            line = json.dumps({"time": _now().isoformat(timespec="milliseconds"), "event": event, **facts})
        self.output.put(line)


def _now() -> datetime:
    return datetime.now(UTC).astimezone()
