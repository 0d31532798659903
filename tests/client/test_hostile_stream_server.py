"""The client on a TCP connection to a server that lies: frames that cannot be, packets out of turn, ends too early.

As in test_hostile_server.py: the right exit status, no file that is wrong or a part, what was there stays, a message
that is fit for a terminal. What datagrams have and a stream has not (strangers, repetition, windows) is left out.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from blockstep.protocol.framing import frame
from blockstep_client.command import get, put
from support.bad_packets import BLKSIZE, ESCAPES, ack, data, error, oack

CONTENT = b"a" * BLKSIZE + b"b" * BLKSIZE + b"c" * 100
OLD = b"what was there"
PATIENCE_S = 10.0
BLOCK = b"a" * BLKSIZE


def data_frame(number: int, payload: bytes) -> bytes:
    packet = data(number, payload)
    return len(packet).to_bytes(4, "big") + packet


class LyingServer:
    """Takes one connection, reads the request, says its words in one go, and then listens or hangs up."""

    def __init__(self, said: bytes, hangs_up: bool) -> None:
        self._said = said
        self._hangs_up = hangs_up
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.settimeout(PATIENCE_S)

    @property
    def url(self) -> str:
        return f"tftp+tcp://127.0.0.1:{self.listener.getsockname()[1]}/x"

    def run(self) -> None:
        """Until the client has hung up."""
        with self.listener.accept()[0] as sock, contextlib.suppress(ConnectionError):
            sock.settimeout(PATIENCE_S)
            head = sock.recv(4, socket.MSG_WAITALL)
            sock.recv(int.from_bytes(head, "big"), socket.MSG_WAITALL)
            sock.sendall(self._said)
            if self._hangs_up:
                sock.shutdown(socket.SHUT_WR)
            while sock.recv(1 << 16):
                pass


@contextlib.contextmanager
def lying(said: bytes, *, hangs_up: bool = False) -> Iterator[LyingServer]:
    server = LyingServer(said, hangs_up)
    thread = threading.Thread(target=server.run)
    with server.listener:
        thread.start()
        yield server
        thread.join(PATIENCE_S)
        assert not thread.is_alive(), "the client has not hung up"


LENGTHS = {f"a frame of {length} octets": (length.to_bytes(4, "big") + bytes(8), 71) for length in (0, 3, 1_048_581)}
BOTH: dict[str, tuple[bytes, int]] = {
    **LENGTHS,
    "a frame of 4 GiB": (b"\xff\xff\xff\xff", 71),
    "an OACK of 2000 octets": (b"\0\0\7\xd0" + oack("x", "y" * 1994), 71),
    "an unknown opcode": (frame(b"\0\7\0\1"), 71),
    "a request": (frame(b"\0\1x\0octet\0"), 71),
    "ACK 1": (frame(ack(1)), 71),
    "an OACK that is cut": (frame(b"\0\6blksize\x00512"), 71),
    "an OACK of one option twice": (frame(oack("blksize", "512", "blksize", "512")), 75),
    "an OACK of larger blocks": (frame(oack("blksize", "1048576")), 75),
    "an OACK of blocks of 7": (frame(oack("blksize", "7")), 75),
    "an OACK of windows": (frame(oack("windowsize", "1")), 75),
    "an OACK of what nobody asked": (frame(oack("multicast", "")), 75),
    **{f"ERROR {code}": (frame(error(code)), 67 + code % 9) for code in (0, 1, 2, 3, 4, 5, 6, 7, 9)},
    "ERROR with escapes": (frame(error(0, ESCAPES)), 67),
    "a datagram without a frame": (error(1, b"not found\0"), 71),
}
TO_READERS: dict[str, tuple[bytes, int]] = {
    "ACK 0": (frame(ack(0)), 71),
    "DATA larger than 512": (data_frame(1, b"?" * 513), 71),
    "DATA 2 first": (data_frame(2, BLOCK), 71),
    "DATA 1 twice": (data_frame(1, BLOCK) * 2, 71),
    "DATA 3 behind DATA 1": (data_frame(1, BLOCK) + data_frame(3, b"c"), 71),
    "an OACK among the blocks": (data_frame(1, BLOCK) + frame(oack("blksize", "8")), 71),
    "an ACK among the blocks": (data_frame(1, BLOCK) + frame(ack(1)), 71),
    "a block behind the last": (data_frame(1, b"end") + data_frame(2, b"more"), 71),
    "an ERROR among the blocks": (data_frame(1, BLOCK) + frame(error(3)), 70),
    "less than announced": (frame(oack("tsize", "9")) + data_frame(1, b"8 bytes."), 67),
    "more than announced": (frame(oack("tsize", "2")) + data_frame(1, b"abc"), 67),
    "more announced than any disk holds": (frame(oack("tsize", str(2**63 - 1))), 23),
    "a size that is no number": (frame(oack("tsize", "1e3")), 75),
}
TO_WRITERS: dict[str, tuple[bytes, int]] = {
    "DATA 1": (data_frame(1, b"x"), 71),
    "an OACK of another size": (frame(oack("tsize", "5")), 75),
    "an ACK of another block": (frame(ack(0)) + frame(ack(7)), 71),
    "ACK 0 twice": (frame(ack(0)) * 2, 71),
    "an OACK behind ACK 0": (frame(ack(0)) + frame(oack("blksize", "512")), 71),
    "an ERROR among the blocks": (frame(ack(0)) + frame(error(3)), 70),
}
CUT = [b"", b"\0\0", b"\0\0\0\4", data_frame(1, BLOCK)[:7], data_frame(1, BLOCK)[:100], data_frame(1, BLOCK)]
CUT_TO_WRITERS = [b"", b"\0\0", frame(ack(0))[:6], frame(ack(0))]


@pytest.fixture
def local(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that is sent or may be replaced, alone in the working directory."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here" / "local"


def check_get(local: Path, server: LyingServer, code: int, *flags: str) -> None:
    local.write_bytes(OLD)
    check([get, *flags, server.url, "-o", "local"], code)
    assert local.read_bytes() == OLD
    assert [path.name for path in local.parent.iterdir()] == ["local"]


def check_put(local: Path, server: LyingServer, code: int, *flags: str) -> None:
    local.write_bytes(CONTENT)
    check([put, *flags, "local", server.url], code)


def check(command: list[object], code: int) -> None:
    result = CliRunner().invoke(command[0], [str(each) for each in command[1:]])  # type: ignore[arg-type]
    assert result.exit_code == code, result.output
    assert result.stdout == ""
    assert result.stderr[:-1].isprintable(), result.stderr


READERS = {**BOTH, **TO_READERS}
WRITERS = {**BOTH, **TO_WRITERS}


@pytest.mark.parametrize(("said", "code"), READERS.values(), ids=READERS)
def test_get_on_a_stream_that_lies(local: Path, said: bytes, code: int) -> None:
    with lying(said) as server:
        check_get(local, server, code)


@pytest.mark.parametrize(("said", "code"), WRITERS.values(), ids=WRITERS)
def test_put_on_a_stream_that_lies(local: Path, said: bytes, code: int) -> None:
    with lying(said) as server:
        check_put(local, server, code)


@pytest.mark.parametrize("said", CUT, ids=len)
def test_get_from_a_server_that_hangs_up(local: Path, said: bytes) -> None:
    with lying(said, hangs_up=True) as server:
        check_get(local, server, 7)


@pytest.mark.parametrize("said", CUT_TO_WRITERS, ids=len)
def test_put_to_a_server_that_hangs_up(local: Path, said: bytes) -> None:
    """Behind ACK 0 it takes the whole file and leaves without a word: the file has not arrived."""
    with lying(said, hangs_up=True) as server:
        check_put(local, server, 7)


@pytest.mark.parametrize("said", [b"", b"\0\0\0", data_frame(1, BLOCK)[:100], data_frame(1, BLOCK)], ids=len)
def test_get_from_a_server_that_falls_silent(local: Path, said: bytes) -> None:
    with lying(said) as server:
        check_get(local, server, 28, "-t", "0.1")


def test_put_to_a_server_that_never_confirms(local: Path) -> None:
    """A disk may be slow, so it is waited for; `--max-time` bounds that."""
    with lying(frame(ack(0))) as server:
        check_put(local, server, 28, "--max-time", "0.2")
