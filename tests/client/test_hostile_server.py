"""The client against a server that lies: the table of bad packets in the ears of `get` and `put`.

Each line runs in this process, where it is quick, and all of them once more through one `blockstep get` and one
`blockstep put` of their own, with honest files between them. Checked each time: the exit status, that no file is wrong
or a part, that what was there stays, that the message is fit for a terminal. Nothing here waits for a timeout but the
servers that fall silent or never end.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from blockstep.exits import ExitCode
from blockstep.protocol.errors import ErrorCode
from blockstep.protocol.states import Role
from blockstep.protocol.wire import ErrorPacket, Opcode
from blockstep_client.command import get, put
from support.bad_packets import (
    AFTER_THE_END,
    BLKSIZE,
    MIDDLE,
    OPENINGS,
    STRANGERS_SAY,
    WINDOWED,
    Bad,
    Opening,
    Peer,
    Said,
    Verdict,
    ack,
    blocks_of,
    data,
    error,
    oack,
)
from support.scripted_server import Conversation, Script, scripted

CONTENT = b"a" * BLKSIZE + b"b" * BLKSIZE + b"c" * 100
LONG = random.Random(7).randbytes(11 * BLKSIZE + 7)
OLD = b"what was there"
WINDOW = 4
QUICK = ["-t", "0.1", "-r", "1"]
CLIENT_ROLES = [Role.GET, Role.PUT]
COMMANDS = {Role.GET: get, Role.PUT: put}
ENDS_WITHIN_S = 60.0
THAT_WAS_ALL = error(0, b"the client need not stay for us\0")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with what is sent and what may be replaced."""
    directory = tmp_path / "here"
    directory.mkdir()
    monkeypatch.chdir(directory)
    return directory


def exit_code_for(verdict: Verdict) -> int:
    if verdict is None:
        return ExitCode.OK
    code = verdict.code if isinstance(verdict, Said) else verdict
    return ExitCode.TFTP_ERROR + (code if code <= max(ErrorCode) else 0)


# What the server does, as scripts.


def interrupting(bad: Bad, role: Role, *, window: int = 1) -> Script:
    """A server that is honest but for `bad` behind the first window, and that insists on what the client owes it."""
    verdict, content = bad.verdicts[role], CONTENT if window == 1 else LONG
    options = () if window == 1 else ("windowsize", str(window), "blksize", str(BLKSIZE))

    def script(conversation: Conversation) -> None:
        peer = Peer(conversation.sock, conversation.client)
        begin(peer, role, *options)
        if role is Role.GET:
            peer.send_blocks(blocks_of(content), 1, window, window=window)
        else:
            assert peer.receive_blocks(1, window, window=window) == content[: window * BLKSIZE]
        peer.say(*bad.packets)
        if isinstance(verdict, ErrorCode):
            assert peer.hear_error() == verdict
        elif verdict is None and role is Role.GET:
            peer.send_blocks(blocks_of(content), window + 1, window=window)
            peer.say(THAT_WAS_ALL)
        elif verdict is None:
            assert peer.receive_blocks(window + 1, window=window) == content[window * BLKSIZE :]

    return script


def begin(peer: Peer, role: Role, *options: str) -> None:
    """Grant these options, or answer as one who knows of none."""
    if options:
        peer.say(oack(*options))
        if role is Role.GET:
            peer.await_ack(0)
    elif role is Role.PUT:
        peer.say(ack(0))


def opening_with(opening: Opening) -> Script:
    """A server that begins like this, and hears what it is told."""

    def script(conversation: Conversation) -> None:
        peer = Peer(conversation.sock, conversation.client)
        peer.say(*opening.packets)
        assert peer.hear_error() == opening.code

    return script


def honest(conversation: Conversation) -> None:
    """Gives CONTENT and takes CONTENT."""
    peer = Peer(conversation.sock, conversation.client)
    if conversation.request.opcode is Opcode.RRQ:
        peer.send_blocks(blocks_of(CONTENT), 1)
        peer.say(THAT_WAS_ALL)
    else:
        begin(peer, Role.PUT)
        assert peer.receive_blocks(1) == CONTENT


# One transfer in this process.


def run(command: click.Command, *arguments: str) -> Result:
    return CliRunner().invoke(command, arguments)


def move(role: Role, here: Path, script: Script, *flags: str, content: bytes = CONTENT) -> tuple[Result, bytes | None]:
    """The result of a transfer of `content`; for `get` also what the file holds then, where `OLD` stood before."""
    local = here / "local"
    local.write_bytes(content if role is Role.PUT else OLD)
    with scripted(script) as server:
        arguments = ["-o", "local", server.url("x")] if role is Role.GET else ["local", server.url("x")]
        result = run(COMMANDS[role], *flags, *arguments)
    assert [path.name for path in here.iterdir()] == ["local"], "something is left"
    return result, local.read_bytes() if role is Role.GET else None


def check_failure(result: Result, code: int) -> None:
    """This exit status, and a message of one line that no terminal can be hurt with."""
    assert result.exit_code == code, result.output
    assert result.stdout == ""
    assert result.stderr.endswith("\n")
    assert result.stderr[:-1].isprintable(), result.stderr
    assert len(result.stderr) < 600


def check(role: Role, here: Path, bad: Bad, *, window: int = 1) -> None:
    content = CONTENT if window == 1 else LONG
    result, received = move(role, here, interrupting(bad, role, window=window), content=content)
    if bad.verdicts[role] is None:
        assert result.exit_code == 0, result.output
        assert received in (content, None)
    else:
        check_failure(result, exit_code_for(bad.verdicts[role]))
        assert received in (OLD, None)


def ids(role: Role) -> str:
    return role.value


@pytest.mark.parametrize("bad", MIDDLE.values(), ids=MIDDLE)
@pytest.mark.parametrize("role", CLIENT_ROLES, ids=ids)
def test_a_hostile_server_in_the_middle_of_a_transfer(here: Path, role: Role, bad: Bad) -> None:
    check(role, here, bad)


@pytest.mark.parametrize("bad", WINDOWED.values(), ids=WINDOWED)
@pytest.mark.parametrize("role", CLIENT_ROLES, ids=ids)
def test_a_hostile_server_in_the_middle_of_a_transfer_in_windows(here: Path, role: Role, bad: Bad) -> None:
    check(role, here, bad, window=WINDOW)


@pytest.mark.parametrize(
    ("role", "opening"),
    [
        pytest.param(role, opening, id=f"{role.value}-{name}")
        for role in CLIENT_ROLES
        for name, opening in OPENINGS.items()
        if opening.role in (None, role)
    ],
)
def test_a_hostile_server_as_the_first_answer(here: Path, role: Role, opening: Opening) -> None:
    result, received = move(role, here, opening_with(opening))
    check_failure(result, exit_code_for(opening.code))
    assert received in (OLD, None)


@pytest.mark.parametrize("code", [*range(10), 65535])
@pytest.mark.parametrize("role", CLIENT_ROLES, ids=ids)
def test_an_error_as_the_first_answer(here: Path, role: Role, code: int) -> None:
    """ERROR 8 comes twice: the client asks again without options."""
    result, received = move(role, here, lambda conversation: conversation.send(error(code, b"\x1b[2Jno\0")))
    check_failure(result, exit_code_for(Said(code)))
    assert r"\x1b[2Jno" in result.stderr
    assert received in (OLD, None)


# Lies that take more than a packet, and servers that never come to an end.


def announcing(size: int, sent: bytes) -> Script:
    """A server that announces `size` bytes and sends others, and hears what it is told of that."""

    def script(conversation: Conversation) -> None:
        peer = Peer(conversation.sock, conversation.client)
        peer.say(oack("tsize", str(size)))
        peer.await_ack(0)
        peer.say(*(data(number, block) for number, block in enumerate(blocks_of(sent), 1)))
        assert peer.hear_error() == ErrorCode.UNDEFINED

    return script


def too_large_for_any_disk(conversation: Conversation) -> None:
    peer = Peer(conversation.sock, conversation.client)
    peer.say(oack("tsize", str(2**63 - 1)))
    assert peer.hear_error() == ErrorCode.DISK_FULL


def early_end(conversation: Conversation) -> None:
    """The short block that ends the file comes before its turn, and what it cuts off never."""
    peer = Peer(conversation.sock, conversation.client)
    peer.say(oack("blksize", str(BLKSIZE), "windowsize", "4", "tsize", str(len(LONG))))
    peer.await_ack(0)
    peer.say(data(1, LONG[:BLKSIZE]), data(3, b"short"), data(2, LONG[BLKSIZE : 2 * BLKSIZE]))
    assert peer.hear_error() == ErrorCode.UNDEFINED


def repeating(packet: bytes, *first: bytes) -> Script:
    """A server that says the same until it hears an ERROR."""

    def script(conversation: Conversation) -> None:
        peer = Peer(conversation.sock, conversation.client)
        peer.say(*first)
        conversation.sock.settimeout(0.001)
        while True:
            peer.say(packet)
            try:
                if isinstance(peer.hear(), ErrorPacket):
                    return
            except TimeoutError:
                if conversation.over.is_set():
                    return

    return script


def endless(conversation: Conversation) -> None:
    """A file without an end, as fast as it is taken."""
    peer, number = Peer(conversation.sock, conversation.client), 1
    peer.say(data(1, b"x" * BLKSIZE))
    while not isinstance(peer.hear(), ErrorPacket):
        number += 1
        peer.say(data(number & 0xFFFF, b"x" * BLKSIZE))


def silent_after(*packets: bytes) -> Script:
    return lambda conversation: Peer(conversation.sock, conversation.client).say(*packets)


FULL_BLOCK = data(1, b"a" * BLKSIZE)
LIES: dict[str, tuple[Role, Script, list[str], int]] = {
    "less than announced": (Role.GET, announcing(2000, CONTENT), [], 67),
    "more than announced": (Role.GET, announcing(1000, CONTENT), [], 67),
    "something where nothing was announced": (Role.GET, announcing(0, CONTENT), [], 67),
    "nothing where something was announced": (Role.GET, announcing(1, b""), [], 67),
    "more announced than any disk holds": (Role.GET, too_large_for_any_disk, [], 23),
    "an end before its turn": (Role.GET, early_end, [], 67),
    "silence, to a reader": (Role.GET, silent_after(), QUICK, 28),
    "silence, to a writer": (Role.PUT, silent_after(), QUICK, 28),
    "silence behind the OACK, to a reader": (Role.GET, silent_after(oack("blksize", "512")), QUICK, 28),
    "silence behind the OACK, to a writer": (Role.PUT, silent_after(oack("blksize", "512")), QUICK, 28),
    "silence behind a block": (Role.GET, silent_after(FULL_BLOCK), QUICK, 28),
    "silence before the last ACK": (Role.PUT, silent_after(ack(0), ack(1), ack(2)), QUICK, 28),
    "OACK without end, to a reader": (Role.GET, repeating(oack("blksize", "512")), QUICK, 28),
    "OACK without end, to a writer": (Role.PUT, repeating(oack("blksize", "512")), QUICK, 28),
    "the same block without end": (Role.GET, repeating(FULL_BLOCK), QUICK, 28),
    "a block of the future without end": (Role.GET, repeating(data(2, b"")), QUICK, 28),
    "the same ACK without end": (Role.PUT, repeating(ack(0)), QUICK, 28),
    "ACK of the future without end": (Role.PUT, repeating(ack(100), ack(0)), QUICK, 28),
    "a file without end": (Role.GET, endless, ["--max-time", "0.3"], 28),
}


@pytest.mark.parametrize(("role", "script", "flags", "code"), LIES.values(), ids=LIES)
def test_lies_and_servers_without_end(here: Path, role: Role, script: Script, flags: list[str], code: int) -> None:
    result, received = move(role, here, script, *flags)
    check_failure(result, code)
    assert received in (OLD, None)


@pytest.mark.parametrize("role", CLIENT_ROLES, ids=ids)
def test_strangers_do_not_hurt_get_and_put(here: Path, role: Role) -> None:
    """Before the first answer (from the wrong address) and in the middle (from the wrong port, too)."""

    def script(conversation: Conversation) -> None:
        peer = Peer(conversation.sock, conversation.client)
        with conversation.stranger("127.0.0.1") as near, conversation.stranger("127.0.0.2") as far:
            Peer(far, conversation.client).say(*STRANGERS_SAY[:20])  # more would fill the buffer, and that is loss
            begin(peer, role)
            if role is Role.GET:
                peer.send_blocks(blocks_of(CONTENT), 1, 1)
            else:
                assert peer.receive_blocks(1, 1) == CONTENT[:BLKSIZE]
            for sock in (near, far):
                Peer(sock, conversation.client).say(*STRANGERS_SAY)
            if role is Role.GET:
                peer.send_blocks(blocks_of(CONTENT), 2)
            else:
                assert peer.receive_blocks(2) == CONTENT[BLKSIZE:]

    result, received = move(role, here, script)
    assert result.exit_code == 0, result.output
    assert received in (CONTENT, None)


@pytest.mark.parametrize("packets", AFTER_THE_END.values(), ids=AFTER_THE_END)
def test_after_the_end_the_file_stays_whole_and_the_last_ack_comes_again(
    here: Path, packets: tuple[bytes, ...]
) -> None:
    last = len(blocks_of(CONTENT))

    def script(conversation: Conversation) -> None:
        peer = Peer(conversation.sock, conversation.client)
        peer.send_blocks(blocks_of(CONTENT), 1)
        peer.say(data(last, blocks_of(CONTENT)[-1]), *packets)

    result, received = move(Role.GET, here, script)
    assert (result.exit_code, received) == (0, CONTENT)


# The whole table in one process of its own.


def whole_table(role: Role) -> dict[str, tuple[Script, int]]:
    """Every line as (script, exit code), an honest file behind each."""
    odd = {
        **{
            f"middle {name}": (interrupting(bad, role), exit_code_for(bad.verdicts[role]))
            for name, bad in MIDDLE.items()
        },
        **{
            f"opening {name}": (opening_with(opening), exit_code_for(opening.code))
            for name, opening in OPENINGS.items()
            if opening.role in (None, role)
        },
        **{name: (script, code) for name, (whose, script, flags, code) in LIES.items() if whose is role and not flags},
    }
    return {
        name: line
        for number, (key, odd_line) in enumerate(odd.items())
        for name, line in (
            (f"{number}-{_plain(key)}", odd_line),
            (f"{number}-honest", (honest, 0)),
        )
    }


def _plain(name: str) -> str:
    return "".join(character if character.isascii() and character.isalnum() else "-" for character in name)[:40]


def blockstep(*arguments: str, here: Path) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    argv = [sys.executable, "-W", "error", "-m", "blockstep", *arguments]
    return subprocess.run(
        argv, env=environ, cwd=here, capture_output=True, text=True, timeout=ENDS_WITHIN_S, check=False
    )


def records(done: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("role", CLIENT_ROLES, ids=ids)
def test_one_process_hears_the_whole_table_and_is_none_the_worse(here: Path, role: Role) -> None:
    table = whole_table(role)
    assert len(table) > 2 * 60
    if role is Role.PUT:
        for name in table:
            (here / name).write_bytes(CONTENT)

    def script(conversation: Conversation) -> None:
        table[conversation.request.filename][0](conversation)

    with scripted(script) as server:
        arguments = [*map(server.url, table)] if role is Role.GET else [*table, server.url("")]
        done = blockstep(role.value, "--json", *arguments, here=here)
    found = {Path(record["remote"]).name: record["exit_code"] for record in records(done)}
    assert found == {name: code for name, (_, code) in table.items()}
    assert done.returncode == next(code for _, code in table.values() if code)
    assert "Traceback" not in done.stderr
    assert done.stderr.replace("\n", "").isprintable()
    if role is Role.GET:
        whole = {name for name, (_, code) in table.items() if not code}
        assert {path.name: path.read_bytes() for path in here.iterdir()} == dict.fromkeys(whole, CONTENT)


ALONE: dict[str, tuple[Role, Script, int]] = {
    "an ERROR with escapes": (Role.GET, interrupting(MIDDLE["ERROR with terminal escapes"], Role.GET), 67),
    "an offence, to a reader": (Role.GET, interrupting(MIDDLE["opcode 7"], Role.GET), 71),
    "an offence, to a writer": (Role.PUT, interrupting(MIDDLE["DATA 0"], Role.PUT), 71),
    "an OACK that grants more": (Role.GET, opening_with(OPENINGS["OACK with blksize '65464'"]), 75),
    "less than announced": (*LIES["less than announced"][:2], 67),
}


@pytest.mark.parametrize(("role", "script", "code"), ALONE.values(), ids=ALONE)
def test_the_exit_status_of_a_process(here: Path, role: Role, script: Script, code: int) -> None:
    (here / "local").write_bytes(CONTENT)
    with scripted(script) as server:
        arguments = ["-o", "local", server.url("x")] if role is Role.GET else ["local", server.url("x")]
        done = blockstep(role.value, *arguments, here=here)
    assert done.returncode == code
    assert done.stderr[:-1].isprintable()
    assert (here / "local").read_bytes() == CONTENT
