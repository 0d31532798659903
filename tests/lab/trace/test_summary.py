"""A transfer in a few lines."""

from __future__ import annotations

from collections import Counter

import pytest

from blockstep_lab.trace.capture import Capture
from blockstep_lab.trace.outcome import outcome_of
from blockstep_lab.trace.rules import check
from blockstep_lab.trace.stalls import find_stalls
from blockstep_lab.trace.summary import capture_lines, size_text, transfer_lines, violation_lines
from support.capture_story import Story, ack, data, error, oack, read_request, write_request

LATE = "the server took this long to answer ACK 3, or an earlier DATA 4 was lost before this point"
OTHER = "127.0.0.1 was asked, 127.0.0.9 answered"


def lines(story: Story) -> list[str]:
    transfer = story.only_transfer()
    found = list(transfer_lines(transfer, outcome_of(transfer), find_stalls(transfer)))
    return found + list(violation_lines(check(transfer)))


def test_a_read_with_everything(story: Story) -> None:
    story.request(read_request("big", windowsize=4, tsize=0), after_s=0)
    story.server(oack(windowsize=4, tsize=1537))
    story.client(ack(0))
    for index in range(1, 4):
        story.server(data(index), lost="loss" if index == 2 else "")
    story.client(ack(1))
    story.server(data(2))
    story.server(data(3))
    story.client(ack(3))
    story.server(data(4, 1), after_s=0.5)
    story.client(ack(4))
    assert lines(story) == [
        "#1  127.0.0.1:40000 -> 127.0.0.1:69 (answered from port 50000)  frames 1-12",
        '    request: read "big" octet',
        "    options: asked windowsize=4 tsize=0; granted windowsize=4 tsize=1537",
        "    carried: 1.50 KiB (1537 octets) in 4 blocks of 512, window 4, 0.501 s, 3.00 KiB/s",
        "    resends: 2 DATA (gap ACK)",
        f"    stalled 0.500 s before frame 11: {LATE}",
        "    result:  complete",
    ]


def test_a_refused_write_to_another_address(story: Story) -> None:
    story.tid = ("127.0.0.9", 69)
    story.request(write_request("x\x1b"))
    story.server(error(2, "no\nway"))
    assert lines(story) == [
        "#1  127.0.0.1:40000 -> 127.0.0.1:69 (answered from 127.0.0.9:69)  frames 1-2",
        r'    request: write "x\x1b" octet',
        r'    result:  refused (server: ERROR 2 "no\x0away")',
        f"    VIOLATION other-address: server, frame 2: {OTHER} [RFC 1122 section 4.1.3.5]",
    ]


def test_one_port_missing_blocks_and_many_stalls(story: Story) -> None:
    story.tid = story.asked
    story.request(read_request())
    story.server(data(1), after_s=1)
    story.client(ack(1), after_s=2)
    story.server(data(3))
    story.client(ack(3))
    found = lines(story)
    assert found[0].startswith("#1  127.0.0.1:40000 -> 127.0.0.1:69 (same port)")
    assert "    capture: 1 blocks were never seen, the capture is not whole" in found
    assert "    stalls:  2, 3.000 s in all, longest first" in found
    assert [line[:20] for line in found if "stalled" in line] == ["    stalled 2.000 s ", "    stalled 1.000 s "]


def test_repeats_are_counted(story: Story) -> None:
    story.request(read_request())
    story.server(data(1, 0))
    story.server(b"\0\x09")
    story.server(b"\0\x09")
    assert lines(story)[-1] == (
        "    VIOLATION malformed: server, frame 3 (2 times): unknown opcode [RFC 1350 section 5]"
    )


def test_what_else_was_in_the_capture() -> None:
    capture = Capture([], 9, 0, Counter({"not UDP": 2, "fragments": 1}), 3, 4, 5, "the capture was cut short")
    assert list(capture_lines(capture)) == [
        "warning: the capture was cut short",
        "warning: the capturing program lost 5 packets, so some findings may be wrong",
        "3 packets were captured more than once and are counted once",
        "left out: 1 fragments, 2 not UDP, 4 UDP datagrams of no transfer",
    ]


def test_a_capture_of_tftp_alone_needs_no_words() -> None:
    assert list(capture_lines(Capture([], 0, 0, Counter(), 0, 0, 0))) == []


@pytest.mark.parametrize(
    ("octets", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1.00 KiB"), (1 << 20, "1.00 MiB"), (1 << 60, "1048576.00 TiB")],
)
def test_sizes(octets: int, text: str) -> None:
    assert size_text(octets) == text
