"""Bad and odd requests as datagrams, each with the answer that a server owes it; docs/protocol.md says it in words.

The tables are for every server that serves `a_root`; `NAMES`, `OPTIONS` and `LAYOUTS` read, `WRITES` needs a server
that takes new files of at most `MOST_UPLOADED` bytes. Requests that no socket can send (from port 0, from the server's
own port) are in test_admission.py; what goes wrong later, once blocks move, is in the tests of the machines.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from blockstep.protocol.errors import ErrorCode
from blockstep.protocol.wire import Ack

__all__ = [
    "GOOD",
    "LAYOUTS",
    "MOST_UPLOADED",
    "NAMES",
    "NO_REQUESTS",
    "OPTIONS",
    "WRITES",
    "Answer",
    "Cases",
    "a_root",
    "rrq",
]

GOOD = b"the good file"

NOT_FOUND, ACCESS, FULL, ILLEGAL, EXISTS, OPTION = (
    ErrorCode.FILE_NOT_FOUND,
    ErrorCode.ACCESS_VIOLATION,
    ErrorCode.DISK_FULL,
    ErrorCode.ILLEGAL_OPERATION,
    ErrorCode.FILE_EXISTS,
    ErrorCode.OPTION_REFUSED,
)
Answer = ErrorCode | Ack | bytes | dict[str, str] | None
"""An ERROR with this code, an ACK, DATA 1 with these bytes, an OACK of just this, or nothing."""
Cases = dict[str, tuple[bytes, Answer]]

ACK_0 = Ack(0)
DATA_1 = GOOD
MOST_UPLOADED = 1_000_000


def rrq(name: bytes | str, *fields: bytes | str, mode: bytes | str = b"octet") -> bytes:
    """A read request; `fields` are option names and values in turn."""
    return b"\0\1" + _fields(name, mode, *fields)


def wrq(name: bytes | str, *fields: bytes | str, mode: bytes | str = b"octet") -> bytes:
    """A write request."""
    return b"\0\2" + _fields(name, mode, *fields)


def _fields(*fields: bytes | str) -> bytes:
    return b"".join((field.encode() if isinstance(field, str) else field) + b"\0" for field in fields)


NO_REQUESTS: dict[str, bytes] = {
    "nothing at all": b"",
    "one octet": b"\0",
    "opcode 0": b"\0\0good\0octet\0",
    "opcode 7": b"\0\7good\0octet\0",
    "opcode 256 + 1": b"\1\1good\0octet\0",
    "opcode 65535": b"\xff\xff",
    "DATA": b"\0\3\0\1data",
    "DATA without a number": b"\0\3",
    "ACK 0": b"\0\4\0\0",
    "ACK without a number": b"\0\4\0",
    "ERROR": b"\0\5\0\0no\0",
    "ERROR with a code that nobody defined": b"\0\5\xff\xff\0",
    "ERROR with 60 kB of terminal escapes": b"\0\5\0\0" + b"\x1b[31m" * 12_000 + b"\0",
    "OACK": b"\0\6blksize\x00512\0",
    "request in a datagram over 2048 octets": rrq("good", "x", "y" * 2100),
}

LAYOUTS: Cases = {
    "an opcode and no more": (b"\0\1", ILLEGAL),
    "name without NUL": (b"\0\1good", ILLEGAL),
    "no mode": (b"\0\1good\0", ILLEGAL),
    "mode without NUL": (b"\0\1good\0octet", ILLEGAL),
    "no name": (rrq(""), ILLEGAL),
    "no name, no mode": (b"\0\1\0\0", ILLEGAL),
    "nothing but NULs": (b"\0\1" + bytes(500), ILLEGAL),
    "empty mode": (rrq("good", mode=""), ILLEGAL),
    "mode mail": (rrq("good", mode="mail"), ILLEGAL),
    "mode MAIL, to write": (wrq("new", mode="MAIL"), ILLEGAL),
    "mode octets": (rrq("good", mode="octets"), ILLEGAL),
    "mode with a space": (rrq("good", mode="octet "), ILLEGAL),
    "mode in full-width letters": (rrq("good", mode="\uff4f\uff43\uff54\uff45\uff54"), ILLEGAL),
    "a NUL in the name": (rrq("good\0.png"), ILLEGAL),
    "a NUL behind the name": (rrq("good\0"), ILLEGAL),
    "mode OcTeT": (rrq("good", mode="OcTeT"), DATA_1),
    "mode NETASCII": (rrq("good", mode="NETASCII"), DATA_1),
    "option without a value": (rrq("good", "blksize"), ILLEGAL),
    "option value without NUL": (rrq("good") + b"blksize\x00512", ILLEGAL),
    "option without a name": (rrq("good", "", "512", "blksize", "512"), ILLEGAL),
    "an option twice": (rrq("good", "blksize", "512", "blksize", "1024"), OPTION),
    "an option twice, in two cases": (rrq("good", "tsize", "0", "TSIZE", "0"), OPTION),
    "an unknown option twice": (rrq("good", "x", "1", "x", "1"), OPTION),
    "padded with NULs": (rrq("good") + bytes(100), DATA_1),
    "1472 octets": (rrq("good", "x", "y" * (1472 - len(rrq("good", "x", "")))), DATA_1),
    "1473 octets": (rrq("good", "x", "y" * (1473 - len(rrq("good", "x", "")))), ILLEGAL),
    "2048 octets": (rrq("good", "x", "y" * (2048 - len(rrq("good", "x", "")))), ILLEGAL),
    "100 unknown options": (rrq("good", *(f"{word}{n}" for n in range(100) for word in "ab")), DATA_1),
    "options of other people": (rrq("good", "multicast", "", "x-crypt", "\x1b[31m", "\xff", "\0"[:0]), DATA_1),
}


def _asked(option: str, answers: dict[str, ErrorCode | bytes | str]) -> Cases:
    """One option with each of these values; text means that this value is granted."""
    return {
        f"{option} {value!r}": (
            rrq("good", option, value),
            {option: answer} if isinstance(answer, str) else answer,
        )
        for value, answer in answers.items()
    }


OPTIONS: Cases = {
    **_asked("blksize", {"8": "8", "0512": "512", "65464": "65464", "65465": "65464", "65536": "65464"}),
    **_asked("blksize", {"9223372036854775807": "65464", "9223372036854775808": OPTION, "9" * 1400: OPTION}),
    **_asked("blksize", {"0": OPTION, "7": OPTION, "-1": OPTION, "+512": OPTION, "": OPTION, " 512": OPTION}),
    **_asked("blksize", {"512 ": OPTION, "1e3": OPTION, "0x200": OPTION, "5_12": OPTION, "5.0": OPTION, "nan": OPTION}),
    **_asked("blksize", {"99999999999999999999": OPTION, "0" * 19 + "512": OPTION}),
    **_asked("blksize", {"\u0665\u0661\u0662": OPTION, "\uff15\uff11\uff12": OPTION}),
    **_asked("blksize2", {"7": OPTION, "8": "8", "1428": "1024", "65535": "32768"}),
    **_asked("windowsize", {"0": OPTION, "1": "1", "64": "64", "65535": "64", "65536": OPTION, "-1": OPTION}),
    **_asked("timeout", {"0": DATA_1, "1": "1", "255": "255", "256": DATA_1, "1.5": OPTION, "-1": OPTION}),
    **_asked("utimeout", {"9999": DATA_1, "10000": "10000", "255000001": DATA_1, "x": OPTION}),
    **_asked("rollover", {"0": "0", "1": "1", "2": DATA_1, "-1": OPTION}),
    **_asked("tsize", {"0": "13", "5": "13", "9223372036854775807": "13", "-1": OPTION, "": OPTION}),
    "tsize of an empty file": (rrq("empty", "tsize", "0"), b""),
    "tsize of an empty file, and blksize": (rrq("empty", "tsize", "0", "blksize", "512"), {"blksize": "512"}),
    "tsize in netascii": (rrq("good", "tsize", "0", mode="netascii"), DATA_1),
    "BLKSIZE in capitals": (rrq("good", "BLKSIZE", "512"), {"blksize": "512"}),
    "blksize with a Kelvin sign": (rrq("good", "bl\u212asize", "512"), DATA_1),
    "blksize, then blksize2": (rrq("good", "blksize", "512", "blksize2", "1024"), {"blksize": "512"}),
    "blksize2, then blksize": (rrq("good", "blksize2", "1024", "blksize", "512"), {"blksize2": "1024"}),
    "a bad one among good ones": (rrq("good", "tsize", "0", "blksize", "x"), OPTION),
    "an unknown one among good ones": (rrq("good", "x", "1", "blksize", "512"), {"blksize": "512"}),
    "a bad one for a file that is not there": (rrq("missing", "blksize", "x"), NOT_FOUND),
}


def _named(answer: Answer, *names: bytes | str) -> Cases:
    """The same answer to a read request for each of these names."""
    return {repr(name): (rrq(name), answer) for name in names}


NAMES: Cases = {
    **_named(DATA_1, "/good", "//./good", "\\good", "good/", "hard", "link", "chain"),
    **_named(b"inner", "folder\\inner", "folder//inner"),
    **_named(b"odd", "new\nline"),
    **_named(b"utf-8", "caf\u00e9"),
    **_named(b"latin", b"caf\xe9"),
    **_named(b"long", "n" * 255),
    **_named(NOT_FOUND, "missing", "missing/good", "good/inner", "GOOD", "good ", "good\r\n", "dangling"),
    **_named(NOT_FOUND, "%2e%2e/good", "%67ood", "~root/good", "good;mode=netascii", "C:\\good", "a/" * 500 + "good"),
    **_named(NOT_FOUND, "/proc/self/mem", "/dev/zero", "/etc/passwd", ".blockstep-0123456789abcdef.part"),
    **_named(NOT_FOUND, "\x1b[31mred\x07", "\u202egood", b"\xff\xfe"),
    **_named(ACCESS, "..", "../good", "../outside/secret", "folder/../good", "..\\outside\\secret"),
    **_named(ACCESS, "folder/../../outside/secret", "/", ".", "folder", "folder/", "fifo", "socket"),
    **_named(ACCESS, "loop", "out", "outdir/secret", "out-chain", "absolute", "to-proc", "to-fifo"),
    **_named(ACCESS, "n" * 256, "n" * 500, "a/" * 100 + "n" * 256),
}

WRITES: Cases = {
    "good, which is there": (wrq("good"), EXISTS),
    "a link to it": (wrq("link"), ACCESS),
    "a dangling link": (wrq("dangling"), ACCESS),
    "a link out of the root": (wrq("out"), ACCESS),
    "a folder": (wrq("folder"), ACCESS),
    "a name in a folder that is not there": (wrq("missing/new"), NOT_FOUND),
    "a name in a folder outside": (wrq("outdir/new"), ACCESS),
    "a name below a file": (wrq("good/new"), NOT_FOUND),
    "..": (wrq("../new"), ACCESS),
    "a FIFO": (wrq("fifo"), ACCESS),
    "our own temporaries": (wrq(".blockstep-0123456789abcdef.part"), NOT_FOUND),
    "a name too long": (wrq("n" * 256), ACCESS),
    "no name": (wrq(""), ILLEGAL),
    "nothing but slashes": (wrq("///"), ACCESS),
    "tsize over --max-upload": (wrq("new", "tsize", "1000001"), FULL),
    "tsize of all the world": (wrq("new", "tsize", "9223372036854775807"), FULL),
    "tsize that is no number": (wrq("new", "tsize", "-1"), OPTION),
    "tsize in netascii": (wrq("new", "tsize", "100", mode="netascii"), ACK_0),
    "tsize 0": (wrq("new", "tsize", "0"), ACK_0),
    "tsize 1": (wrq("new", "tsize", "1"), {"tsize": "1"}),
    "blksize 7": (wrq("new", "blksize", "7"), OPTION),
    "a new name": (wrq("new"), ACK_0),
    "a new name in a folder": (wrq("folder\\new"), ACK_0),
}


@contextmanager
def a_root(base: Path) -> Iterator[Path]:
    """A directory to serve, below `base`, with something of every kind in it and a secret beside it."""
    root, outside = base / "root", base / "outside"
    (root / "folder").mkdir(parents=True)
    outside.mkdir()
    (outside / "secret").write_bytes(b"secret")
    for name, content in _CONTENTS.items():
        (root / name).write_bytes(content)
    os.link(root / "good", root / "hard")
    os.mkfifo(root / "fifo")
    for name, target in {**_LINKS, "absolute": os.fspath(root / "good")}.items():
        (root / name).symlink_to(target)
    # bound by a short name: the path of a test's directory is often longer than a socket's may be
    folder = os.open(root, os.O_PATH)
    try:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(f"/proc/self/fd/{folder}/socket")
            yield root
    finally:
        os.close(folder)


_CONTENTS = {
    "good": GOOD,
    "folder/inner": b"inner",
    "empty": b"",
    "new\nline": b"odd",
    "caf\u00e9": b"utf-8",
    os.fsdecode(b"caf\xe9"): b"latin",
    "n" * 255: b"long",
}
_LINKS = {
    "link": "good",
    "chain": "link",
    "dangling": "nothing",
    "loop": "loop",
    "out": "../outside/secret",
    "outdir": "../outside",
    "out-chain": "out",
    "to-proc": "/proc/self/mem",
    "to-fifo": "fifo",
}
