"""Frames that cannot be and packets out of turn, said to a real server on TCP, with honest clients beside them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from blockstep.protocol.errors import ErrorCode
from blockstep.protocol.framing import frame
from blockstep.protocol.wire import Data, ErrorPacket, OptionAck, parse_untrusted
from support.bad_packets import ack, data, error, oack
from support.bad_requests import rrq, wrq
from support.transports import Raw, TransportServer, transport_server

CONTENT = b"the good file"
ILLEGAL, OPTION = ErrorCode.ILLEGAL_OPERATION, ErrorCode.OPTION_REFUSED


def data_frame(number: int, payload: bytes) -> bytes:
    packet = data(number, payload)
    return len(packet).to_bytes(4, "big") + packet


READ, WRITE = frame(rrq("good")), frame(wrq("new"))
# what is said, and the code of the one ERROR that ends the connection; None: it ends without a word
FRAMES: dict[str, tuple[bytes, ErrorCode | None]] = {
    **{f"a length of {length}": (length.to_bytes(4, "big") + bytes(8), ILLEGAL) for length in (0, 3, 1_048_581)},
    "a length of 4 GiB": (b"\xff\xff\xff\xff", ILLEGAL),
    "a request without a frame": (rrq("good"), ILLEGAL),
    "a request of 2000 octets": (b"\0\0\7\xd0" + rrq("x" * 1992), ILLEGAL),
    "an unknown opcode": (frame(b"\0\7\0\1"), ILLEGAL),
    "DATA first": (data_frame(1, b"x"), ILLEGAL),
    "ACK first": (frame(ack(0)), ILLEGAL),
    "OACK first": (frame(oack("blksize", "512")), ILLEGAL),
    "ERROR first": (frame(error(0)), None),
    "ACK of another block": (READ + frame(ack(2)), ILLEGAL),
    "DATA to a reader": (READ + data_frame(1, b"x"), ILLEGAL),
    "ERROR instead of the last ACK": (READ + frame(error(3)), None),
    "DATA 2 first": (WRITE + data_frame(2, b"x"), ILLEGAL),
    "DATA larger than 512": (WRITE + data_frame(1, b"?" * 513), ILLEGAL),
    "DATA twice": (WRITE + data_frame(1, bytes(512)) * 2, ILLEGAL),
    "ACK among the blocks": (WRITE + data_frame(1, bytes(512)) + frame(ack(1)), ILLEGAL),
    "OACK among the blocks": (WRITE + data_frame(1, bytes(512)) + frame(oack("blksize", "8")), ILLEGAL),
    "ERROR among the blocks": (WRITE + data_frame(1, bytes(512)) + frame(error(3)), None),
    "more than was announced": (frame(wrq("new", "tsize", "1")) + data_frame(1, b"xy"), ErrorCode.UNDEFINED),
    "less than was announced": (frame(wrq("new", "tsize", "9")) + data_frame(1, b"xy"), ErrorCode.UNDEFINED),
}
# Costs one ERROR, and the connection goes on.
REQUESTS: dict[str, tuple[bytes, ErrorCode]] = {
    "a request of four octets": (frame(b"\0\1\0\0"), ILLEGAL),
    "no mode": (frame(b"\0\1good\0"), ILLEGAL),
    "mode mail": (frame(rrq("good", mode="mail")), ILLEGAL),
    "blksize 7": (frame(rrq("good", "blksize", "7")), OPTION),
    "blksize in Arabic digits": (frame(rrq("good", "blksize", "\u0665\u0661\u0662")), OPTION),
    "an option twice": (frame(rrq("good", "blksize", "512", "blksize", "512")), OPTION),
    "a name out of the root": (frame(rrq("../good")), ErrorCode.ACCESS_VIOLATION),
    "a name of 500 octets": (frame(rrq("n" * 500)), ErrorCode.ACCESS_VIOLATION),
    "a file that is there": (frame(wrq("good")), ErrorCode.FILE_EXISTS),
}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("root")
    (root / "good").write_bytes(CONTENT)
    return root


@pytest.fixture(scope="module")
def server(root: Path) -> Iterator[TransportServer]:
    with transport_server("tcp", root, "--upload", "create") as server:
        yield server


def fetch(client: Raw) -> None:
    client.say(rrq("good"))
    assert parse_untrusted(client.hear()) == Data(1, memoryview(CONTENT))
    client.say(ack(1))


def errors_until_the_end(client: Raw) -> list[int]:
    """The codes of the ERRORs until the server hangs up; between them only what was due by then."""
    codes = []
    while packet := client.hear():
        heard = parse_untrusted(packet)
        assert isinstance(heard, ErrorPacket | Data | OptionAck) or packet == ack(0), heard
        codes += [heard.code] if isinstance(heard, ErrorPacket) else []
    return codes


@pytest.mark.parametrize(("said", "code"), FRAMES.values(), ids=FRAMES)
def test_bad_frames_end_their_connection_alone(
    server: TransportServer, root: Path, said: bytes, code: ErrorCode | None
) -> None:
    with server.raw() as odd, server.raw() as honest, server.raw("udp") as datagrams:
        with contextlib.suppress(ConnectionError):
            odd.sock.sendall(said)
        fetch(honest)
        fetch(datagrams)
        assert errors_until_the_end(odd) == ([] if code is None else [code])
    server.await_idle()
    assert [path.name for path in root.iterdir()] == ["good"]


@pytest.mark.parametrize(("said", "code"), REQUESTS.values(), ids=REQUESTS)
def test_a_bad_request_costs_one_error(server: TransportServer, said: bytes, code: ErrorCode) -> None:
    with server.raw() as client:
        client.sock.sendall(said)
        heard = parse_untrusted(client.hear())
        assert isinstance(heard, ErrorPacket)
        assert heard.code == code
        fetch(client)
    server.await_idle()
