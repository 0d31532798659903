"""The reader of captures: frames or a clear error, in whatever pieces the file comes; then everything that
`blockstep trace` works out of them. Time and memory are bounded by the driver.
"""

from __future__ import annotations

import io
import json
from itertools import pairwise

from blockstep_lab.trace.capture import Capture, read_capture
from blockstep_lab.trace.extract import safe_name
from blockstep_lab.trace.frames import FRAME_LARGEST, CaptureError, Frame
from blockstep_lab.trace.ladder import draw
from blockstep_lab.trace.outcome import outcome_of
from blockstep_lab.trace.reader import CaptureReader
from blockstep_lab.trace.records import transfer_record
from blockstep_lab.trace.rules import check
from blockstep_lab.trace.stalls import AT_LEAST_S, find_stalls
from blockstep_lab.trace.summary import capture_lines, transfer_lines, violation_lines
from blockstep_lab.trace.transfer import Transfer

_PIECE_BYTES = 61


def one_input(data: bytes) -> None:
    """`data` is a capture file."""
    frames, error = _frames(data, len(data) or 1)
    assert (frames, error) == _frames(data, _PIECE_BYTES), "in pieces it is another capture"
    for before, after in pairwise(frames):
        assert after.number == before.number + 1
    for frame in frames:
        assert len(frame.data) <= min(frame.length, FRAME_LARGEST)
    try:
        capture = read_capture(io.BytesIO(data))
    except CaptureError:
        return
    assert capture.frames == len(frames)
    _told(capture)


def _frames(data: bytes, piece_bytes: int) -> tuple[list[Frame], str]:
    reader = CaptureReader()
    frames: list[Frame] = []
    try:
        for at in range(0, len(data), piece_bytes):
            frames.extend(reader.feed(data[at : at + piece_bytes]))
        reader.finish()
    except CaptureError as error:
        assert str(error)
        return frames, str(error)
    return frames, ""


def _told(capture: Capture) -> None:
    """Everything that the command prints: one line is one line, and none gives orders to a terminal."""
    lines = list(capture_lines(capture))
    for transfer in capture.transfers:
        lines += _transfer_told(transfer)
    for line in lines:
        assert line.isprintable(), f"a terminal would obey {line!r}"


def _transfer_told(transfer: Transfer) -> list[str]:
    outcome, stalls = outcome_of(transfer), find_stalls(transfer, AT_LEAST_S)
    violations = check(transfer)
    json.dumps(transfer_record(transfer, outcome, stalls, violations), allow_nan=False)
    name = safe_name(transfer.request.filename)
    assert name not in ("", ".", "..")
    assert not {"/", "\0"} & set(name), "a file would be written somewhere else"
    marked = [violation.frame for violation in violations]
    return [*transfer_lines(transfer, outcome, stalls), *violation_lines(violations), *draw(transfer, stalls, marked)]
