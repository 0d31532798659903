"""`blockstep trace`: what it prints, what it writes, how it exits."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from blockstep_lab.trace_command import trace
from support.capture_story import Story, ack, data, oack, read_request

CAPTURES = Path(__file__).parent / "trace" / "captures"
READ = str(CAPTURES / "hpa-read.pcap")
SORCERER = str(CAPTURES / "sorcerer.pcapng")


def run(*arguments: str, stdin: bytes | None = None) -> Result:
    return CliRunner().invoke(trace, arguments, input=stdin)


def test_three_transfers() -> None:
    result = run(READ)
    assert result.exit_code == 0
    assert [line.split()[0] for line in result.stdout.splitlines() if line.startswith("#")] == ["#1", "#2", "#3"]
    assert 'refused (server: ERROR 1 "File not found")' in result.stdout
    assert result.stderr == ""


def test_a_pipe_is_as_good_as_a_file() -> None:
    assert run("-", stdin=Path(READ).read_bytes()).stdout == run(READ).stdout


@pytest.mark.parametrize(("capture", "code"), [(READ, 0), (SORCERER, 1)])
def test_check_tells_by_its_exit_code(capture: str, code: int) -> None:
    result = run("--check", capture)
    assert result.exit_code == code
    assert ("VIOLATION sorcerer: server, frame 12 (3 times)" in result.stdout) == bool(code)
    assert "[RFC 1123 section 4.2.3.1]" in result.stdout or not code


def test_without_check_nobody_is_accused() -> None:
    result = run(SORCERER)
    assert (result.exit_code, "VIOLATION" in result.stdout) == (0, False)


def test_one_transfer_of_several() -> None:
    assert run("--transfer", "2", READ).stdout.startswith("#2 ")
    result = run("--transfer", "9", READ)
    assert result.exit_code == 2
    assert "there are 3 transfers" in result.stderr


def test_the_ladder() -> None:
    result = run("--ladder", "--transfer", "3", READ)
    assert '|<------------------------- ERROR 1 "File not found" ---|' in result.stdout


def test_json_lines() -> None:
    result = run("--json", SORCERER)
    (record,) = map(json.loads, result.stdout.splitlines())
    assert record["packets"][0]["tftp.source_file"] == "small.bin"
    assert record["violations"][0]["rule"] == "sorcerer"


def test_extract(tmp_path: Path) -> None:
    result = run("--extract", str(tmp_path / "out"), READ)
    assert "    written: small.bin, 2.93 KiB" in result.stdout
    assert sorted((path.name, path.stat().st_size) for path in (tmp_path / "out").iterdir()) == [
        ("exact.bin", 1024),
        ("small.bin", 3000),
    ]


def test_netascii_comes_back_as_it_was(tmp_path: Path) -> None:
    for options, size in (((), 3444), (("--decode-netascii",), 3000)):
        out = tmp_path / str(size)
        arguments = ("--extract", str(out), "--transfer", "2", *options)
        assert run(*arguments, str(CAPTURES / "hpa-write.pcapng")).exit_code == 0
        assert (out / "small.bin").stat().st_size == size
    run("--extract", str(tmp_path), "--transfer", "1", READ)
    assert (tmp_path / "3000" / "small.bin").read_bytes() == (tmp_path / "small.bin").read_bytes()


def test_decode_without_extract_is_a_mistake() -> None:
    result = run("--decode-netascii", READ)
    assert result.exit_code == 2
    assert "give both" in result.stderr


def test_stalls_are_as_long_as_the_user_says(tmp_path: Path) -> None:
    story = Story(tmp_path / "x.pcapng")
    story.request(read_request(blksize=8))
    story.server(oack(blksize=8))
    story.client(ack(0))
    story.server(data(1, 3), after_s=0.05)
    story.client(ack(1))
    path = str(story.save())
    assert "stalled" not in run(path).stdout
    assert "stalled 0.050 s before frame 4" in run("--stall", "0.01", path).stdout


@pytest.mark.parametrize(
    ("octets", "text"), [(b"", "empty"), (b"no capture at all", "not a capture file"), (b"\x1f\x8b\x08\0", "gunzip")]
)
def test_what_is_no_capture(tmp_path: Path, octets: bytes, text: str) -> None:
    path = tmp_path / "x"
    path.write_bytes(octets)
    result = run(str(path))
    assert result.exit_code == 26
    assert result.stderr.startswith(f"Error: {path}: ")
    assert text in result.stderr


def test_a_cut_capture_is_a_warning(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(Path(READ).read_bytes()[:-3])
    result = run(str(path))
    assert result.exit_code == 0
    assert result.stderr == "warning: the capture was cut short in the middle of frame 24\n"


def test_no_tftp_inside(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(Path(READ).read_bytes()[:24])
    assert run(str(path)).stderr == "no TFTP request in 0 frames\n"


def test_a_directory_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    result = run("--extract", str(tmp_path / "file" / "below"), READ)
    assert result.exit_code == 23
    assert "cannot extract" in result.stderr


def test_a_missing_file() -> None:
    assert run("/nowhere/at/all").exit_code == 2
