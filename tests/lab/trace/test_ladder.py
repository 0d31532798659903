"""The ladder, word for word."""

from __future__ import annotations

from blockstep_lab.trace.ladder import draw
from blockstep_lab.trace.rules import check
from blockstep_lab.trace.stalls import find_stalls
from support.capture_story import Story, ack, data, error, read_request


def ladder(story: Story) -> list[str]:
    transfer = story.only_transfer()
    return list(draw(transfer, find_stalls(transfer), [found.frame for found in check(transfer)]))


def test_a_transfer_with_a_loss(story: Story) -> None:
    story.request(read_request("x"))
    story.lock_step(1, 10)
    story.server(data(11), lost="loss 1%")
    story.server(data(11), after_s=1)
    story.client(ack(11))
    story.server(data(12, 7))
    story.client(ack(12))
    assert ladder(story) == [
        "    frame      seconds  client                                             server",
        '        1     0.000000  |--- RRQ "x" octet ------------------------------------>|',
        "        2     0.000100  |<------------------------------- DATA 1, 512 octets ---|",
        "        3     0.000200  |--- ACK 1 -------------------------------------------->|",
        "                        :   DATA 2 to 9 and ACK 2 to 9: 16 packets in 0.002 s",
        "       20     0.001900  |<------------------------------ DATA 10, 512 octets ---|",
        "       21     0.002000  |--- ACK 10 ------------------------------------------->|",
        "       22     0.002100  | x----------------------------- DATA 11, 512 octets ---|  lost: loss 1%",
        "                        :   1.000 s: the link lost DATA 11 (loss 1%); the server's timer sent it again",
        "       23     1.002100  |<------------------------------ DATA 11, 512 octets ---|  again: timer",
        "       24     1.002200  |--- ACK 11 ------------------------------------------->|",
        "       25     1.002300  |<-------------------------------- DATA 12, 7 octets ---|",
        "       26     1.002400  |--- ACK 12 ------------------------------------------->|",
    ]


def test_every_line_of_a_kind_is_as_wide_as_the_others(story: Story) -> None:
    story.request(read_request("name" * 50, blksize=8))
    story.server(error(1, "text " * 50))
    lines = ladder(story)
    assert {len(line) for line in lines} == {81}
    assert "..." in lines[1]


def test_strays_and_violations_are_drawn(story: Story) -> None:
    story.request(read_request())
    story.lock_step(1, 10)
    story.server(data(1), tid=("127.0.0.1", 50001))
    story.lock_step(11, 20)
    story.server(data(21, 600))
    story.lock_step(22, 30)
    text = "\n".join(ladder(story))
    assert "stray, 127.0.0.1:50001" in text
    assert "DATA 21, 600 octets" in text
    assert text.count(":   DATA") == 3


def test_a_short_run_is_not_folded(story: Story) -> None:
    story.request(read_request())
    story.lock_step(1, 3)
    assert len(ladder(story)) == 8
