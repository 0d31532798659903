"""Files from a capture: right bytes, safe names, nothing overwritten."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blockstep.protocol.errors import LocalError
from blockstep_lab.trace.capture import read_capture
from blockstep_lab.trace.extract import Extracted, Extractor, safe_name
from support.capture_story import Story, ack, data, error, oack, read_request, write_request


def extract(story: Story, directory: Path, *, decode_netascii: bool = False) -> list[Extracted | None]:
    with Extractor(directory, decode_netascii=decode_netascii) as extractor:
        capture = read_capture(io.BytesIO(story.save().read_bytes()), extractor.spool)
        return [extractor.maybe_write(transfer) for transfer in capture.transfers]


def test_a_file_with_resends_out_of_order(story: Story, tmp_path: Path) -> None:
    story.request(read_request("boot/kernel", windowsize=4))
    story.server(oack(windowsize=4))
    story.client(ack(0))
    for index in (1, 3, 2, 3, 4):
        story.server(data(index))
    story.client(ack(4))
    story.server(data(5, b"end"))
    story.client(ack(5))
    out = tmp_path / "out" / "below"
    assert extract(story, out) == [Extracted("kernel", 4 * 512 + 3, True)]
    assert (out / "kernel").read_bytes() == b"".join(bytes([index]) * 512 for index in range(1, 5)) + b"end"


def test_an_upload_and_an_empty_file(story: Story, tmp_path: Path) -> None:
    story.request(write_request("log"))
    story.server(ack(0))
    story.client(data(1, 0))
    story.server(ack(1))
    assert extract(story, tmp_path / "out") == [Extracted("log", 0, True)]


def test_what_is_not_whole_says_so(story: Story, tmp_path: Path) -> None:
    story.request(read_request("image"))
    for index in (1, 2, 4):
        story.server(data(index))
    assert extract(story, tmp_path / "out") == [Extracted("image.incomplete", 1024, False)]


def test_a_transfer_without_a_block_gives_no_file(story: Story, tmp_path: Path) -> None:
    story.request(read_request())
    story.server(error(1))
    assert extract(story, tmp_path / "out") == [None]
    assert not list((tmp_path / "out").iterdir())


def test_names_that_are_taken(story: Story, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    outside = tmp_path / "outside"
    outside.write_bytes(b"mine")
    (out / "x").symlink_to(outside)
    for name in ("x", "a/x", "y"):
        story.request(read_request(name))
        story.server(data(1, b"new"))
        story.client(ack(1))
    assert [found.name for found in extract(story, out) if found] == ["x.2", "x.3", "y"]
    assert outside.read_bytes() == b"mine"


def test_netascii_as_sent_and_as_meant(story: Story, tmp_path: Path) -> None:
    story.request(read_request("text", "netascii", blksize=8))
    story.server(oack(blksize=8))
    story.client(ack(0))
    story.server(data(1, b"line 1\r\n"[:8]))
    story.client(ack(1))
    story.server(data(2, b"carria\0\r"))
    story.client(ack(2))
    story.server(data(3, b"\0ge"))
    story.client(ack(3))
    extract(story, tmp_path / "sent")
    extract(story, tmp_path / "meant", decode_netascii=True)
    assert (tmp_path / "sent" / "text").read_bytes() == b"line 1\r\ncarria\0\r\0ge"
    assert (tmp_path / "meant" / "text").read_bytes() == b"line 1\ncarria\0\rge"


@pytest.mark.parametrize(
    ("wire", "safe"),
    [
        ("vmlinuz", "vmlinuz"),
        ("/boot/x86/initrd.img", "initrd.img"),
        ("..\\..\\windows\\system.ini", "system.ini"),
        ("../../etc/passwd", "passwd"),
        ("dir/", "dir"),
        ("..", "unnamed"),
        ("", "unnamed"),
        (".bashrc", "bashrc"),
        ("a b\x1b[31m;rm", "a_b_31m_rm"),
        ("n\u00e4me", "n_me"),
        ("x" * 500, "x" * 120),
    ],
)
def test_safe_names(wire: str, safe: str) -> None:
    assert safe_name(wire) == safe


@given(st.text() | st.binary().map(lambda octets: octets.decode("utf-8", "surrogateescape")))
def test_no_name_leaves_the_directory(wire: str) -> None:
    name = safe_name(wire)
    assert name
    assert not set(name) & {"/", "\\", "\0"}
    assert not name.startswith(".")
    assert len(os.fsencode(name)) <= 120


def test_a_directory_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(LocalError, match="cannot extract"):
        Extractor(tmp_path / "file")
