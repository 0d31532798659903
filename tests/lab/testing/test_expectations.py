from __future__ import annotations

import re
from typing import Any

import pytest

from blockstep.protocol.wire import Opcode, Request
from blockstep_lab.testing.expectations import Expectation, TftpRequest, complaints

CLIENT = ("127.0.0.1", 4000)


def asked(name: str = "kernel", op: str = "read", **more: Any) -> TftpRequest:
    return TftpRequest(op, name, more.pop("mode", "octet"), more.pop("options", {}), CLIENT, **more)


def test_a_request_is_told_in_one_printable_line() -> None:
    request = Request(Opcode.RRQ, "a\x1b[2Jb", "octet", (("blksize", "1428"), ("tsize", "0")))
    assert str(TftpRequest.of(request, CLIENT)) == (
        "read 'a\\\\x1b[2Jb' (octet, blksize=1428, tsize=0) from 127.0.0.1:4000: not finished"
    )


@pytest.mark.parametrize(
    ("expectation", "request_", "fits"),
    [
        (Expectation("read", "kernel"), asked(), True),
        (Expectation("read", "kernel"), asked("Kernel"), False),
        (Expectation("write", "kernel"), asked(), False),
        (Expectation("read", re.compile("k.*")), asked(), True),
        (Expectation("read", re.compile("k")), asked(), False),
        (Expectation("read", "kernel", mode="netascii"), asked(), False),
        (Expectation("read", "kernel", options={"blksize": "8"}), asked(options={"blksize": "8", "tsize": "0"}), True),
        (Expectation("read", "kernel", options={"blksize": "8"}), asked(options={"blksize": "9"}), False),
        (Expectation("read", "kernel", times=1, asked=[asked()]), asked(), False),
        (Expectation("read", "kernel", times=2, asked=[asked()]), asked(), True),
    ],
)
def test_what_an_expectation_answers(expectation: Expectation, request_: TftpRequest, fits: bool) -> None:
    assert expectation.answers(request_) is fits


@pytest.mark.parametrize(
    ("expectation", "complaint"),
    [
        (Expectation("read", "kernel", content=b"", asked=[asked(complete=True)]), ""),
        (Expectation("write", "log", asked=[asked(complete=True)]), ""),
        (Expectation("read", re.compile("k.*"), options={"a": "1"}), "the read of 'k.*' (a=1) was never asked for"),
        (
            Expectation("read", "kernel", content=b"", asked=[asked(outcome="no progress")]),
            "the read of 'kernel' was asked for, and did not come to its end: no progress",
        ),
        (
            Expectation("read", "kernel", content=b"", times=2, asked=[asked(complete=True)]),
            "the read of 'kernel' was completed 1 times, not 2",
        ),
    ],
)
def test_complaints(expectation: Expectation, complaint: str) -> None:
    assert expectation.complaint() == complaint


def test_the_whole_complaint_names_everything() -> None:
    met, unmet, odd = asked(complete=True, outcome="complete"), Expectation("read", "initrd"), asked("odd")
    fine = Expectation("read", "kernel", content=b"", asked=[met])
    assert complaints([fine], [met, odd], strict=False) == ""
    assert complaints([fine, unmet], [met, odd], strict=True).splitlines() == [
        "the read of 'initrd' was never asked for",
        f"not expected: {odd}",
        "what the server was asked:",
        f"  {met}",
        f"  {odd}",
    ]
    assert complaints([unmet], [], strict=False).endswith("  nothing at all")
