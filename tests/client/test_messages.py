from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from blockstep.protocol.errors import End, ErrorCode, LocalError, RemoteError, TransferFailed
from blockstep.protocol.wire import printable_untrusted
from blockstep.transport.files import sink_at, source_at
from blockstep_client.address import parse_target
from blockstep_client.errors import CannotReach, CannotResolve, NotTrusted, Stopped
from blockstep_client.jobs import Direction, Job
from blockstep_client.messages import explain

GET = Job(Direction.GET, parse_target("h:a"), "local")
PUT = Job(Direction.PUT, parse_target("h:a"), "local")


def ends_as_a_sentence(text: str) -> bool:
    return text.endswith(".") and text.isprintable() and len(text) < 300


@pytest.mark.parametrize("job", [GET, PUT], ids=["get", "put"])
@pytest.mark.parametrize("answered", [True, False])
@pytest.mark.parametrize("end", End)
def test_every_end_says_what_to_do(job: Job, answered: bool, end: End) -> None:
    text = explain(TransferFailed(end, "detail", 0), job, answered=answered)
    assert ends_as_a_sentence(text)
    assert text.count(". ") >= 1, "what happened and what to do are two sentences"


@pytest.mark.parametrize("job", [GET, PUT], ids=["get", "put"])
@pytest.mark.parametrize("code", ErrorCode)
def test_every_error_code_says_what_to_do_and_what_the_server_said(job: Job, code: ErrorCode) -> None:
    text = explain(TransferFailed(End.PEER_ERROR, "its words", code), job, answered=True)
    assert ends_as_a_sentence(text)
    assert f'(error {int(code)}: "its words")' in text
    assert text.count(". ") >= 1


@pytest.mark.parametrize("code", [9, 255, 65535])
def test_a_code_that_nobody_defined_is_named(code: int) -> None:
    text = explain(TransferFailed(End.PEER_ERROR, "its words", code), GET, answered=True)
    assert "no RFC defines" in text
    assert f"error {code}" in text


def test_the_hint_for_an_upload_is_its_own() -> None:
    missing = TransferFailed(End.PEER_ERROR, "no", ErrorCode.FILE_NOT_FOUND)
    assert "no such file" in explain(missing, GET, answered=True)
    assert "--create" in explain(missing, PUT, answered=True)


def test_silence_before_the_first_answer_is_another_matter() -> None:
    silence = TransferFailed(End.TIMED_OUT, "no progress for 24.0 s")
    assert "h:a: no answer (no progress for 24.0 s)." in explain(silence, GET, answered=False)
    assert "stopped answering" in explain(silence, GET, answered=True)
    assert "nothing listens" in explain(TransferFailed(End.PEER_GONE, "x"), GET, answered=False)


@pytest.mark.parametrize("number", [errno.ENOENT, errno.EACCES, errno.ENOSPC, errno.EISDIR, errno.EROFS, errno.EPIPE])
def test_local_failures_name_the_local_file_and_the_reason(number: int) -> None:
    failure = TransferFailed(End.LOCAL_WRITE, "the file cannot be written")
    failure.__context__ = OSError(number, os.strerror(number))
    text = explain(failure, GET, answered=True)
    assert text.startswith("local: ")
    assert ends_as_a_sentence(text)
    assert "cannot be written" not in text, "a better reason is known"


def test_a_local_failure_without_a_system_error_uses_its_own_words() -> None:
    failure = TransferFailed(End.LOCAL_READ, "the file was changed while it was being sent")
    assert explain(failure, PUT, answered=True).startswith("local: the file was changed while it was being sent. ")


def test_real_failures_of_files_find_their_sentences(tmp_path: Path) -> None:
    (tmp_path / "there").touch()
    attempts: list[tuple[Callable[[], object], str]] = [
        (lambda: source_at(tmp_path / "missing"), "no such file or directory"),
        (lambda: source_at(tmp_path), "it is a directory"),
        (lambda: sink_at(tmp_path / "missing" / "a"), "no such file or directory"),
        (lambda: sink_at(tmp_path / "there", replace=False), "it exists already"),
    ]
    for attempt, said in attempts:
        with pytest.raises(TransferFailed) as caught:
            attempt()
        assert said in explain(caught.value, PUT, answered=False)


def test_network_failures_say_which() -> None:
    for number, said in ((errno.ENETUNREACH, "no route"), (errno.EPERM, "firewall"), (errno.EINVAL, "zone")):
        failure = CannotReach("h: sending failed")
        failure.__cause__ = OSError(number, os.strerror(number))
        assert said in explain(failure, GET, answered=False)
    assert "sending failed" in explain(CannotReach("sending failed"), GET, answered=False)


def test_the_rest_says_its_own_words() -> None:
    assert "has no address" in explain(CannotResolve("h has no address"), GET, answered=False)
    assert "too long" in explain(LocalError("too long"), GET, answered=False)
    assert "--cafile" in explain(NotTrusted("self-signed"), GET, answered=False)
    assert "--cert" in explain(NotTrusted("certificate required", about_us=True), GET, answered=False)
    assert "broke the protocol (DATA is" in explain(
        RemoteError(ErrorCode.ILLEGAL_OPERATION, "DATA is not allowed"), GET, answered=True
    )
    assert "run it again" in explain(Stopped(15), GET, answered=True)
    assert "run it again" in explain(KeyboardInterrupt(), GET, answered=True)


@pytest.mark.parametrize(
    ("address", "hint"),
    [("tftp+tcp://h/a", "--tcp"), ("tftp+tls://h/a", "--tls-cert"), ("tftp+unix:///s:a", "--unix")],
)
def test_on_a_stream_the_words_are_not_those_of_datagrams(address: str, hint: str) -> None:
    job = Job(Direction.GET, parse_target(address), "a")
    never = explain(TransferFailed(End.PEER_GONE, "no server listens there"), job, answered=False)
    assert "no connection (no server listens there)" in never
    assert hint in never
    assert "UDP" not in explain(TransferFailed(End.TIMED_OUT, "no answer for 3 s"), job, answered=False)
    later = explain(TransferFailed(End.TIMED_OUT, "nothing moved for 3 s"), job, answered=True)
    assert "stands still (nothing moved for 3 s)" in later


def test_local_names_are_escaped() -> None:
    job = Job(Direction.GET, parse_target("h:a\x1b[2J"), "b\x1b[2J\udcff")
    for end in (End.LOCAL_WRITE, End.TIMED_OUT):
        assert explain(TransferFailed(end, printable_untrusted("\x1b")), job, answered=True).isprintable()
