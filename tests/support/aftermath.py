"""What must be true of a server's folder after a fault, whatever the fault was.

The invariant: every name holds complete content, the old or the new; no temporary is left once a server has started
there again; an ERROR has told the peer where the server's process lived to tell it; one line of the log says what
happened; and the server still serves.
"""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from blockstep.protocol.wire import Opcode, Request
from blockstep.transport.atomic import HIDDEN_PREFIX
from support.transports import Raw, TransportServer, transport_server

__all__ = [
    "NEW",
    "OLD",
    "SAMPLE",
    "assert_all_complete",
    "assert_still_serves",
    "assert_swept",
    "hear_other_than",
    "hidden_in",
    "read_on",
    "serving_faults",
    "the_only_record",
]

OLD = b"the old content\n" * 1000
NEW = bytes(range(256)) * 2600  # several system calls' worth, whatever the transport makes of it
SAMPLE = b"a sample of what the server has\n" * 10


def assert_all_complete(files: Mapping[str, bytes], allowed: Collection[bytes] = (OLD, NEW, SAMPLE)) -> None:
    """Every name holds complete content. Hidden files are no names: no client can ask for one."""
    for name, content in files.items():
        if not name.startswith(HIDDEN_PREFIX):
            assert content in allowed, f"{name!r} holds {len(content)} bytes that nobody sent: {content[:40]!r}"


def assert_still_serves(server: TransportServer, kind: str = "udp") -> None:
    """A client without options gets the sample."""
    with server.raw(kind) as client:
        client.say(Request(Opcode.RRQ, "sample", "octet").to_bytes())
        assert read_on(client, client.hear()) == SAMPLE
    assert server.await_record("sample")["result"] == "complete"


def read_on(client: Raw, packet: bytes) -> bytes:
    """The whole file, of which `packet` has the first block."""
    found = b""
    for block in itertools.count(1):
        number = block.to_bytes(2, "big")
        while packet[2:4] != number:  # it was sent again, by a server that did not want to wait longer
            packet = client.hear()
        assert packet[:2] == b"\0\3", packet
        found += packet[4:]
        client.say(b"\0\4" + number)
        if len(packet) < 516:
            break
    return found


def hear_other_than(client: Raw, stale: bytes) -> bytes:
    """The next packet that is not the last one once more."""
    while (packet := client.hear()) == stale:
        pass
    return packet


def the_only_record(server: TransportServer, file: str, kind: str = "udp") -> dict[str, Any]:
    """The one line of the log about `file`; that no second one comes is known after another transfer."""
    record = server.await_record(file)
    assert_still_serves(server, kind)
    about = [each for each in server.records if each["file"] == file]
    assert about == [record], "one thing that happened is one line"
    server.records.remove(record)  # a crash that a test brought about is no reproach at the end
    return record


def assert_swept(folder: Path) -> None:
    """A server that starts on `folder` again leaves no temporary there, and serves."""
    with transport_server("udp", folder, "--upload", "replace") as server:
        assert hidden_in(folder) == []
        assert_still_serves(server)


def hidden_in(folder: Path) -> list[str]:
    """The temporaries that are there."""
    return [name for name in os.listdir(folder) if name.startswith(HIDDEN_PREFIX)]


@contextlib.contextmanager
def serving_faults(folder: Path, *options: str) -> Iterator[TransportServer]:
    """A server of `folder` that takes uploads over UDP and TCP; at the end the next one is looked at."""
    with transport_server("tcp", folder, "--upload", "replace", *options) as server:
        yield server
    assert_swept(folder)
