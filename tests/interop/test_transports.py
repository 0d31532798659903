"""One table of cases for every transport: what the client sees, the log says and the disk holds is the same."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from blockstep.protocol.wire import ErrorPacket, Opcode, Request
from blockstep_client.command import get, put
from support.ownership import hand_over
from support.streams import certificates
from support.transports import KINDS, TransportServer, transport_server

SIZES = [0, 1, 511, 512, 513, 1428, 65_464, 262_143, 262_144, 262_145, 3_000_000]
TEXT = b"one\ntwo\rthree\r\n\0\r" * 300
OLD = b"the old content"


def pattern(size: int) -> bytes:
    return (bytes(range(251)) * (size // 251 + 1))[:size]


class Scene:
    """A server on one transport, and a client's directory."""

    def __init__(self, server: TransportServer, root: Path, here: Path) -> None:
        self.server = server
        self.root = root
        self.here = here

    def run(self, op: str, *arguments: str) -> Result:
        """One `get -o` of a name to a local one, or `put` of a local one to a name, with flags after both."""
        first, second, *flags = arguments
        trust = ["--cafile", str(certificates().certificate("ca"))] if self.server.kind == "tls" else []
        if op == "get":
            return CliRunner().invoke(get, [*trust, *flags, self.server.url(first), "-o", str(self.here / second)])
        return CliRunner().invoke(put, [*trust, *flags, str(self.here / first), self.server.url(second)])

    def content(self) -> dict[str, bytes]:
        """Every file below the root."""
        files = (path for path in self.root.rglob("*") if path.is_file())
        return {str(path.relative_to(self.root)): path.read_bytes() for path in files}


Open = Callable[..., Scene]


@pytest.fixture(scope="module", params=KINDS)
def opened(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Open]:
    """A scene on one transport for some server options; scenes with the same options share a server."""
    if request.param == "tls":
        certificates()
    scenes: dict[tuple[str, ...], Scene] = {}
    with contextlib.ExitStack() as stack:

        def open_scene(*options: str) -> Scene:
            if options not in scenes:
                root, here = tmp_path_factory.mktemp("root"), tmp_path_factory.mktemp("here")
                (root / "old").write_bytes(OLD)
                (root / "sub").mkdir()
                (here / "file").write_bytes(pattern(5000))
                hand_over(root)
                server = stack.enter_context(transport_server(request.param, root, *options))
                scenes[options] = Scene(server, root, here)
            return scenes[options]

        yield open_scene


@dataclass(frozen=True)
class Case:
    """What is asked of a server with these options, and what comes of it."""

    name: str
    options: str
    words: str
    exit_code: int
    result: str
    code: int | None = None
    said: str = ""


CASES = [
    Case("a file is fetched", "", "get old a", 0, "complete"),
    Case("a file in netascii", "", "get old a --mode netascii", 0, "complete"),
    Case("a file without options", "", "get old a --no-options", 0, "complete"),
    Case("a file in tiny blocks", "", "get old a -b 8", 0, "complete"),
    Case("a missing file", "", "get none a", 68, "refused", 1, "no such file"),
    Case("a file out of the root", "", "get ../old a", 69, "refused", 2, "does not allow"),
    Case("a directory", "", "get sub a", 69, "refused", 2),
    Case("an upload to a server that takes none", "", "put file new", 69, "refused", 2, "Uploads may be off"),
    Case("an upload", "--upload create", "put file new", 0, "complete"),
    Case("an upload into a directory", "--upload create", "put file sub/new", 0, "complete"),
    Case("an upload onto an old file", "--upload create", "put file old", 73, "refused", 6, "--upload replace"),
    Case("an upload that replaces", "--upload replace", "put file old", 0, "complete"),
    Case("an upload out of the root", "--upload replace", "put file ../old", 69, "refused", 2),
    Case("an upload that is too large", "--upload create --max-upload 1000", "put file big", 70, "refused", 3),
    Case("options that the server refuses", "--refuse tsize --refuse blksize", "get old a", 0, "complete"),
    Case("blocks no larger than the server wants", "--blksize-max 512", "get old a", 0, "complete"),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_transport_does_the_same(opened: Open, case: Case) -> None:
    scene = opened(*case.options.split())
    before = scene.content()
    op, first, second, *flags = case.words.split()
    result = scene.run(op, first, second, "--json", *flags)
    assert (result.exit_code, case.said in result.stderr) == (case.exit_code, True), result.stderr
    told = json.loads(result.stdout)
    assert (told["transport"], told["error"] and told["error"]["code"]) == (scene.server.kind, case.code)
    record = scene.server.await_event("transfer")
    assert (record["transport"], record["result"], record["code"]) == (scene.server.kind, case.result, case.code)
    assert (record["op"], record["file"]) == ({"get": "read", "put": "write"}[op], first if op == "get" else second)
    expected = {**before, second: pattern(5000)} if (op, case.exit_code) == ("put", 0) else before
    assert scene.content() == expected
    assert (scene.here / "a").exists() == ((op, case.exit_code) == ("get", 0))
    (scene.here / "a").unlink(missing_ok=True)
    for name in expected.keys() - before.keys():
        (scene.root / name).unlink()
    (scene.root / "old").write_bytes(OLD)


def test_every_size_goes_and_comes(opened: Open) -> None:
    scene = opened("--upload", "replace")
    told: list[int] = []
    for size in SIZES:
        (scene.here / "sent").write_bytes(pattern(size))
        for op, first, second in (("put", "sent", "sized"), ("get", "sized", "got")):
            result = scene.run(op, first, second, "--json")
            assert result.exit_code == 0, result.stderr
            assert json.loads(result.stdout)["bytes"] == size
            told.append(size)
        assert (scene.here / "got").read_bytes() == pattern(size)
    # an upload over UDP is told of when its last ACK needs no repeating, so later than what followed it
    assert sorted(scene.server.await_event("transfer")["payload_bytes"] for _ in told) == sorted(told)
    (scene.root / "sized").unlink()


def test_text_goes_and_comes_in_netascii(opened: Open) -> None:
    scene = opened("--upload", "replace")
    (scene.here / "text").write_bytes(TEXT)
    assert scene.run("put", "text", "text", "--mode", "netascii").exit_code == 0
    assert (scene.root / "text").read_bytes() == TEXT
    assert scene.run("get", "text", "back", "--mode", "netascii").exit_code == 0
    assert (scene.here / "back").read_bytes() == TEXT
    assert {scene.server.await_event("transfer")["mode"] for _ in range(2)} == {"netascii"}
    (scene.root / "text").unlink()


def test_the_size_is_told_and_asking_for_it_alone_is_a_probe(opened: Open) -> None:
    scene = opened()
    with scene.server.raw() as client:
        client.say(Request(Opcode.RRQ, "old", "octet", (("tsize", "0"),)).to_bytes())
        assert client.hear() == b"\0\6tsize\x0015\0"
        client.say(ErrorPacket(8, "only asking").to_bytes())
        record = scene.server.await_event("transfer")
    assert (record["result"], record["status"], record["options"]) == ("probe", 0, {"tsize": len(OLD)})


def test_an_upload_that_is_broken_off_leaves_the_old_file(opened: Open) -> None:
    scene = opened("--upload", "replace")
    before = scene.content()
    goodbyes = [ErrorPacket(3, "no more").to_bytes()]
    if scene.server.kind != "udp":
        goodbyes.append(b"")  # the end of the connection, which datagrams do not have
    for goodbye in goodbyes:
        with scene.server.raw() as client:
            client.say(Request(Opcode.WRQ, "old", "octet", (("blksize", "512"),)).to_bytes())
            assert client.hear() == b"\0\6blksize\x00512\0"
            client.say(b"\0\3\0\1" + bytes(512))
            if goodbye:
                client.say(goodbye)
        assert scene.server.await_event("transfer")["result"] == "failed"
        assert scene.content() == before


def test_a_name_with_an_escape_in_it_reaches_no_terminal(opened: Open) -> None:
    scene = opened()
    result = scene.run("get", "a%1b[2J", "a")
    assert result.exit_code == 68
    assert scene.server.await_event("transfer")["file"] == "a\x1b[2J"
    assert "\x1b" not in result.stderr
