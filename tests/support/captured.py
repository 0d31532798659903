"""What is in a capture, as plain values that a test can compare."""

from __future__ import annotations

import io
from pathlib import Path

from blockstep_lab.describing import describe_untrusted
from blockstep_lab.trace.ip import DatagramReader
from blockstep_lab.trace.reader import CaptureReader, read_frames

__all__ = ["Seen", "datagrams_in", "said_in"]

Seen = tuple[tuple[str, int], tuple[str, int], bytes]


def datagrams_in(path: Path) -> list[Seen]:
    """(source, destination, payload) of every datagram."""
    reader = DatagramReader()
    frames = read_frames(io.BytesIO(path.read_bytes()), CaptureReader())
    found = [reader.maybe_datagram(frame) for frame in frames]
    assert not reader.skipped
    return [(each.source[:2], each.destination[:2], bytes(each.payload)) for each in found if each is not None]


def said_in(path: Path) -> list[str]:
    """The packets in words."""
    return [describe_untrusted(payload) for _, _, payload in datagrams_in(path)]
