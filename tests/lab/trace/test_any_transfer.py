"""Whatever two sides and strangers say to each other, everything that explains it comes to an end without an error."""

from __future__ import annotations

import io
import json
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blockstep_lab.trace.capture import read_capture
from blockstep_lab.trace.extract import Extractor
from blockstep_lab.trace.frames import CaptureError
from blockstep_lab.trace.ladder import draw
from blockstep_lab.trace.outcome import outcome_of
from blockstep_lab.trace.records import transfer_record
from blockstep_lab.trace.rules import check
from blockstep_lab.trace.stalls import find_stalls
from blockstep_lab.trace.summary import capture_lines, transfer_lines, violation_lines
from support.capture_story import Story, ack, data, error, oack, read_request, write_request

VALUES = st.sampled_from(["0", "1", "8", "512", "65464", "65536", "9" * 30, "", "-1", "x", "\N{SUPERSCRIPT TWO}"])
OPTIONS = st.dictionaries(
    st.sampled_from(["blksize", "windowsize", "timeout", "tsize", "rollover", "utimeout", "blksize2", "\x1b"]), VALUES
)
INDEXES = st.integers(0, 5) | st.integers(65_530, 65_540) | st.integers(0, 70_000)
PACKETS = st.one_of(
    st.builds(lambda options: read_request("a\x1b", "netascii", **options), OPTIONS),
    st.builds(lambda options: write_request("../b", "octet", **options), OPTIONS),
    st.builds(lambda options: oack(**options), OPTIONS),
    st.builds(data, INDEXES, st.sampled_from([0, 8, 512, 600]) | st.binary(max_size=20), st.integers(0, 1)),
    st.builds(ack, INDEXES, st.integers(0, 1)),
    st.builds(error, st.integers(0, 65_535), st.text(max_size=20)),
    st.binary(max_size=40),
)
STEPS = st.tuples(st.booleans(), st.sampled_from([69, 50_000]), PACKETS, st.sampled_from([0, 0.001, 1]), st.booleans())


def explain(octets: bytes, directory: Path) -> None:
    with Extractor(directory, decode_netascii=True) as extractor:
        capture = read_capture(io.BytesIO(octets), extractor.spool)
        assert all(line.isprintable() for line in capture_lines(capture))
        for transfer in capture.transfers:
            violations, stalls, outcome = check(transfer), find_stalls(transfer), outcome_of(transfer)
            lines = [*transfer_lines(transfer, outcome, stalls), *violation_lines(violations)]
            lines += draw(transfer, stalls, [violation.frame for violation in violations])
            assert all(line.isprintable() for line in lines)
            json.dumps(transfer_record(transfer, outcome, stalls, violations))
            extractor.maybe_write(transfer)


@given(first=st.sampled_from([read_request("x", blksize=8), write_request("x")]), steps=st.lists(STEPS, max_size=25))
def test_any_packets(
    tmp_path_factory: pytest.TempPathFactory, first: bytes, steps: list[tuple[bool, int, bytes, float, bool]]
) -> None:
    folder = tmp_path_factory.mktemp("any")
    story = Story(folder / "x.pcapng")
    story.request(first)
    for from_client, port, packet, after_s, lost in steps:
        say = story.client if from_client else story.server
        say(packet, after_s=after_s, tid=("127.0.0.1", port), lost="loss\x1b[31m" if lost else "")
    explain(story.save().read_bytes(), folder / "out")


@given(data=st.data())
def test_damaged_captures(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    folder = tmp_path_factory.mktemp("damaged")
    capture = data.draw(st.sampled_from(["hpa-read.pcap", "hpa-write.pcapng", "sorcerer.pcapng"]))
    octets = bytearray((Path(__file__).parent / "captures" / capture).read_bytes())
    for at in data.draw(st.lists(st.integers(0, len(octets) - 1), max_size=20)):
        octets[at] = data.draw(st.integers(0, 255))
    with suppress(CaptureError):
        explain(bytes(octets), folder / "out")
