from __future__ import annotations

import hashlib
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import pytest

from make import FOLDER, LARGE, committed_files, make, read_manifest


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def script(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(FOLDER / "make.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_the_manifest_names_every_file_and_no_other() -> None:
    assert set(read_manifest()) == {path.name for path in committed_files()} | set(LARGE)


@pytest.mark.parametrize("path", committed_files(), ids=lambda path: path.name)
def test_a_committed_file_is_what_the_manifest_says(path: Path) -> None:
    assert sha256(path) == read_manifest()[path.name]


@pytest.mark.parametrize("name", LARGE)
def test_a_generated_file_is_what_the_manifest_says(name: str, tmp_path: Path) -> None:
    path = make(tmp_path, name)
    try:
        assert path.stat().st_size == LARGE[name]
        assert sha256(path) == read_manifest()[name]
    finally:
        path.unlink()  # the temporary directories of several runs are kept


def test_the_sizes_stand_around_the_wrap() -> None:
    data_packets = {name: size_bytes // 512 + 1 for name, size_bytes in LARGE.items() if name.startswith("wrap")}
    assert data_packets == {
        "wrap-minus-1-block.bin": 65535,
        "wrap-minus-1-byte.bin": 65535,
        "wrap-exact.bin": 65536,
        "wrap-plus-1-block.bin": 65537,
    }


@pytest.mark.parametrize("size_bytes", [511, 512, 513, 1428])
def test_the_exact_sizes(size_bytes: int) -> None:
    assert (FOLDER / f"exact-{size_bytes}.bin").stat().st_size == size_bytes


def test_the_empty_file_is_empty() -> None:
    assert (FOLDER / "empty").read_bytes() == b""


def test_the_text_with_every_line_ending_has_them_on_block_borders() -> None:
    text = (FOLDER / "line-endings.txt").read_bytes()
    assert text[511:513] == b"\r\n"
    assert text[1023:1025] == b"\r\0"
    assert text[1427:1429] == b"\rX"
    assert text.endswith(b"\r")
    assert b"\n\r" in text
    assert b"\r\r\n" in text
    with pytest.raises(UnicodeDecodeError):
        text.decode()


def test_the_picture_is_a_valid_png() -> None:
    data = (FOLDER / "steps.png").read_bytes()
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    chunks = {}
    offset = 8
    while offset < len(data):
        (length,) = struct.unpack_from(">I", data, offset)
        kind, body = data[offset + 4 : offset + 8], data[offset + 8 : offset + 8 + length]
        assert struct.unpack_from(">I", data, offset + 8 + length) == (zlib.crc32(kind + body),)
        chunks[kind] = body
        offset += 12 + length
    width, height = struct.unpack_from(">II", chunks[b"IHDR"])
    assert list(chunks) == [b"IHDR", b"IDAT", b"IEND"]
    assert len(zlib.decompress(chunks[b"IDAT"])) == height * (1 + 3 * width)


def test_the_script_lists_makes_and_makes_again(tmp_path: Path) -> None:
    listed = script("--list").stdout.split()
    assert dict(zip(listed[1::2], map(int, listed[0::2]), strict=True)) == LARGE
    path = tmp_path / "new" / "wrap-exact.bin"
    for _ in range(2):
        assert script(str(tmp_path / "new"), "wrap-exact.bin").stdout == f"{path}\n"
        assert sha256(path) == read_manifest()["wrap-exact.bin"]
    path.unlink()


@pytest.mark.parametrize("arguments", [[], ["somewhere", "wrap-exakt.bin"]])
def test_the_script_says_what_it_wants(arguments: list[str]) -> None:
    done = script(*arguments)
    assert done.returncode == 2
    assert "make.py: error: " in done.stderr
