"""JSON with Wireshark's names; that the values are Wireshark's too is for test_agreement."""

from __future__ import annotations

import json
from typing import Any

import pytest

from blockstep_lab.trace.outcome import outcome_of
from blockstep_lab.trace.records import transfer_record
from blockstep_lab.trace.rules import check
from blockstep_lab.trace.stalls import find_stalls
from support.capture_story import Story, ack, data, error, oack, read_request


def record(story: Story) -> dict[str, Any]:
    transfer = story.only_transfer()
    found = transfer_record(transfer, outcome_of(transfer), find_stalls(transfer), check(transfer))
    loaded: dict[str, Any] = json.loads(json.dumps(found))
    assert loaded == found
    return loaded


@pytest.fixture
def resent(story: Story) -> Story:
    """A read of 9 octets in which a block was lost and sent again."""
    story.request(read_request("x", blksize=8, tsize=0))
    story.server(oack(blksize=8, tsize=9))
    story.client(ack(0))
    story.server(data(1, 8), lost="loss")
    story.server(data(1, 8), after_s=1)
    story.client(ack(1))
    story.server(data(2, 1))
    story.client(ack(2))
    return story


def test_a_transfer(resent: Story) -> None:
    found = record(resent)
    assert len(found.pop("packets")) == 8
    assert found == {
        "transfer": 1,
        "client": "127.0.0.1:40000",
        "asked": "127.0.0.1:69",
        "peer": "127.0.0.1:50000",
        "request": {
            "tftp.opcode": 1,
            "tftp.source_file": "x",
            "tftp.type": "octet",
            "tftp.option.name": ["blksize", "tsize"],
            "tftp.option.value": ["8", "0"],
        },
        "granted": {"blksize": "8", "tsize": "9"},
        "blksize": 8,
        "windowsize": 1,
        "result": "complete",
        "detail": "",
        "blocks": 2,
        "missing_blocks": 0,
        "bytes": 9,
        "duration_s": 1.0006,
        "resends": [{"packet": "DATA", "why": "timer", "count": 1}],
        "stalls": [
            {
                "after_frame": 4,
                "frame": 5,
                "duration_s": 1.0,
                "cause": "the link lost DATA 1 (loss); the server's timer sent it again",
            }
        ],
        "violations": [],
    }


def test_a_packet(resent: Story) -> None:
    packets = record(resent)["packets"]
    assert packets[3] == {
        "frame.number": 4,
        "frame.time_epoch": "1700000000.000400000",
        "ip.src": "127.0.0.1",
        "ip.dst": "127.0.0.1",
        "udp.srcport": 50000,
        "udp.dstport": 40000,
        "tftp.opcode": 3,
        "tftp.block": 1,
        "tftp.block.full": 1,
        "length": 8,
        "lost": "loss",
    }
    assert packets[4]["resent"] == "timer"


def test_errors_strays_and_bad_text(story: Story) -> None:
    story.request(read_request("\udcff"))
    story.server(data(1, 600))
    story.client(ack(1))
    story.server(error(1, "no"), tid=("127.0.0.1", 5))
    story.server(b"\0\x09")
    found = record(story)
    assert found["request"]["tftp.source_file"] == "\udcff"
    assert found["violations"][0] == {
        "rule": "block-too-long",
        "reference": "RFC 1350 section 5, RFC 2348",
        "side": "server",
        "frame": 2,
        "count": 1,
        "text": "DATA 1 has 600 octets, blksize is 512",
    }
    assert found["packets"][3]["stray"] is True
    assert (found["packets"][3]["tftp.error.code"], found["packets"][3]["tftp.error.message"]) == (1, "no")
    assert found["packets"][4]["malformed"] == "unknown opcode"


def test_ipv6(story: Story) -> None:
    story = Story(story.path, host="::1")
    story.request(read_request())
    assert record(story)["packets"][0]["ipv6.src"] == "::1"
