"""What may stand on the command line. Whole transfers are in test_session."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import threading
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from blockstep.transport.atomic import AtomicFileSink
from blockstep.transport.files import FileSource
from blockstep_client.command import get, put
from blockstep_client.settings import Settings
from support.scripted_server import scripted, serve


@pytest.mark.parametrize(
    ("command", "arguments", "said"),
    [
        (get, [], "Missing argument 'SRC...'"),
        (put, [], "Missing argument"),
        (put, ["a"], "Missing argument"),
        (get, ["a"], "write HOST:PATH"),
        (put, ["a", "b"], "write HOST:PATH"),
        (get, ["h:a", "-b", "7"], "from 8 to 1048576"),
        (get, ["h:a", "-b", "1_428"], "from 8 to 1048576"),
        (get, ["h:a", "-w", "0"], "from 1 to 65535"),
        (get, ["h:a", "-t", "0"], "from 0.01 to 255 seconds"),
        (get, ["h:a", "-r", "-1"], "from 0 to 1000"),
        (get, ["h:a", "--max-time", "never"], "seconds"),
        (get, ["h:a", "--mode", "mail"], "'octet', 'netascii'"),
        (get, ["h:a;mode=mail", "-o", "b", "--json", "-o", "-"], "both want standard output"),
        (get, ["h:a", "-4", "-6"], "-4 and -6"),
        (get, ["h:a", "-b", "65465"], "a datagram holds at most 65464"),
        (get, ["h:a", "--tls", "--key", "k"], "--key needs --cert"),
        (get, ["h:a", "--tcp", "--pcap", "x.pcap"], "--pcap records datagrams"),
        (get, ["h:a", "h:b", "-o", "missing"], "need a directory"),
        (put, ["-", "h:"], "Standard input has no name"),
        (put, ["a", "b", "h:c"], "end it with a slash"),
        (get, ["h:a", "-n", "-P"], "No such option"),
    ],
)
def test_a_wrong_line_is_a_usage_error(command: click.Command, arguments: list[str], said: str) -> None:
    result = CliRunner().invoke(command, arguments)
    assert result.exit_code == 2
    assert said in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize("command", [get, put])
def test_help_shows_the_conventions(command: click.Command) -> None:
    text = CliRunner().invoke(command, ["--help"]).stdout
    for words in ("-b, --blksize N|auto", "-w, --windowsize", "-t, --timeout", "-r, --retries", "--max-time", "--mode"):
        assert words in text
    for words in ("--no-options", "-4, --ipv4", "-6, --ipv6", "--any-source", "--json", "-q, --quiet", "-v, --verbose"):
        assert words in text
    assert "tftp://HOST[:PORT]/PATH" in text


def test_the_defaults_of_the_flags_are_those_of_the_settings() -> None:
    defaults = get.make_context("get", ["h:a"]).params
    settings = Settings()
    for name in ("windowsize", "blksize", "retries"):
        assert defaults[name] == getattr(settings, name)


def run_python(code: str, *arguments: str, stderr: int, directory: Path) -> str:
    """Standard output of a fresh interpreter that finds the packages where this one does. It must exit with 0."""
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, cwd=directory, env=environ, stdout=subprocess.PIPE, stderr=stderr, check=True)
    return done.stdout.decode()


def test_loading_the_commands_loads_no_bar_and_no_tls(tmp_path: Path) -> None:
    code = "import sys, blockstep_client.command; print({'tqdm', 'asyncio', 'ssl'} & set(sys.modules))"
    assert run_python(code, stderr=subprocess.STDOUT, directory=tmp_path) == "set()\n"


def test_on_a_terminal_there_is_a_bar_on_stderr_and_a_line_on_stdout(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(bytes(50_000))

    def source(name: str) -> FileSource:
        return FileSource(os.open(tmp_path / name, os.O_RDONLY))

    with scripted(serve(source, lambda name: AtomicFileSink.at(tmp_path / name))) as server:
        stdout, drawn = run_on_terminal(tmp_path, f"tftp://127.0.0.1:{server.port}/a", "-o", "b")
    assert stdout.startswith("b <- 127.0.0.1:")
    assert "a: 100%" in drawn
    assert "48.8k/48.8k" in drawn
    assert (tmp_path / "b").read_bytes() == bytes(50_000)


def run_on_terminal(directory: Path, *arguments: str) -> tuple[str, str]:
    """Standard output, and what a terminal (of no known width) at standard error was sent, of one `get`."""
    ours, theirs = pty.openpty()
    drawn: list[bytes] = []
    reader = threading.Thread(target=read_until_closed, args=(ours, drawn))
    reader.start()
    try:
        code = "from blockstep_client.command import get; get()"
        stdout = run_python(code, *arguments, stderr=theirs, directory=directory)
    finally:
        os.close(theirs)
        reader.join()
        os.close(ours)
    return stdout, b"".join(drawn).decode()


def read_until_closed(fd: int, into: list[bytes]) -> None:
    while True:
        try:
            chunk = os.read(fd, 4096)
        except OSError:  # EIO: nobody holds the other end any more
            return
        into.append(chunk)
