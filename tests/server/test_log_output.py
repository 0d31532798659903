from __future__ import annotations

import os
import select
from collections.abc import Iterator

import pytest

from blockstep_server.log_output import LogOutput


class Pipe:
    def __init__(self) -> None:
        self.read_fd, self.write_fd = os.pipe()

    def read(self) -> bytes:
        found = b""
        while select.select([self.read_fd], [], [], 0)[0]:
            found += os.read(self.read_fd, 1 << 16)
        return found


def read_all(output: LogOutput, pipe: Pipe) -> bytes:
    """What waited, and what was in the pipe."""
    read = pipe.read()
    while output.waits:
        output.flush()
        read += pipe.read()
    return read


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    pipe = Pipe()
    yield pipe
    os.close(pipe.read_fd)
    os.close(pipe.write_fd)


def test_lines_come_at_once_and_whole(pipe: Pipe) -> None:
    output = LogOutput(pipe.write_fd)
    output.put("first")
    output.put("second \udcff")
    assert pipe.read() == b"first\nsecond \\udcff\n"
    assert not output.waits


def test_a_log_that_nobody_reads_stops_nobody(pipe: Pipe) -> None:
    output = LogOutput(pipe.write_fd)
    lines = [f"{number} {'x' * 500}" for number in range(1000)]
    for line in lines:
        output.put(line)
    assert output.waits
    assert read_all(output, pipe).decode().splitlines() == lines


def test_above_the_bound_lines_are_lost_and_counted(pipe: Pipe) -> None:
    output = LogOutput(pipe.write_fd, lines_max=10)
    for _ in range(1000):
        output.put("x" * 4000)
    read_all(output, pipe)
    output.put("the next")
    *_, lost, last = pipe.read().decode().splitlines()
    assert last == "the next"
    assert "lines of this log were lost" in lost


def test_a_line_longer_than_one_write_is_cut_into_writes(pipe: Pipe) -> None:
    output = LogOutput(pipe.write_fd)
    output.put("y" * 10_000)
    assert pipe.read() == b"y" * 10_000 + b"\n"


def test_what_another_process_will_write_is_forgotten(pipe: Pipe) -> None:
    """A fork has the lines that waited too."""
    output = LogOutput(pipe.write_fd)
    for _ in range(3):
        output.put("x" * 40_000)
    assert output.waits
    output.forget()
    assert not output.waits


def test_a_reader_that_is_gone_is_survived() -> None:
    read_fd, write_fd = os.pipe()
    os.close(read_fd)
    output = LogOutput(write_fd)
    output.put("to nobody")
    assert not output.waits
    os.close(write_fd)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="/dev/full is Linux")
def test_a_full_disk_is_survived() -> None:
    fd = os.open("/dev/full", os.O_WRONLY)
    output = LogOutput(fd)
    output.put("no room")
    assert not output.waits
    os.close(fd)
