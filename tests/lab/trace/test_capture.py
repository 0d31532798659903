"""A whole capture in one call."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from blockstep.transport.pcapng_writer import PcapngWriter
from blockstep_lab.trace.capture import read_capture
from blockstep_lab.trace.frames import CaptureError
from blockstep_lab.trace.outcome import Result, outcome_of
from blockstep_lab.trace.rules import check
from blockstep_lab.trace.stalls import find_stalls
from blockstep_lab.trace.transfer import Why
from support.capture_bytes import pcap
from support.capture_story import Story, read_request

CAPTURES = Path(__file__).parent / "captures"


def test_what_is_left_out_is_counted(story: Story) -> None:
    story.request(read_request())
    story.server(b"stray", tid=("127.0.0.9", 1))
    capture = story.read()
    assert (capture.frames, capture.others, len(capture.transfers)) == (2, 1, 1)
    assert capture.first_ns == 1_700_000_000_000_100_000
    assert read_capture(io.BytesIO(pcap(records=3))).skipped == {"damaged IP": 3}


def test_a_cut_capture_is_read_as_far_as_it_goes(story: Story) -> None:
    story.request(read_request())
    story.lock_step(1, 3)
    capture = read_capture(io.BytesIO(story.save().read_bytes()[:-7]))
    assert capture.frames == 6
    assert "cut short" in capture.cut
    assert len(capture.transfers[0].packets) == 6


def test_a_damaged_capture_is_an_error(story: Story) -> None:
    story.request(read_request())
    octets = story.save().read_bytes()
    with pytest.raises(CaptureError):
        read_capture(io.BytesIO(octets + bytes(12)))


def test_a_capture_without_tftp(tmp_path: Path) -> None:
    path = tmp_path / "x.pcapng"
    PcapngWriter(path).close()
    capture = read_capture(io.BytesIO(path.read_bytes()))
    assert (capture.transfers, capture.frames) == ([], 0)


RECORDED = {
    "hpa-read.pcap": ["complete 3000", "complete 1024", "refused 0"],
    "hpa-write.pcapng": ["complete 3000", "complete 3444"],
    "fragments.pcap": ["complete 20000"],
    "lossy.pcapng": ["complete 20000"],
    "atftp-window.pcap": ["complete 20000"],
    "sorcerer.pcapng": ["complete 3000"],
    "dnsmasq-v6.pcap": ["complete 3000", "complete 3222", "complete 3000"],
}


@pytest.mark.parametrize("name", RECORDED)
def test_recorded_transfers(name: str) -> None:
    with (CAPTURES / name).open("rb") as stream:
        capture = read_capture(stream)
    outcomes = [outcome_of(transfer) for transfer in capture.transfers]
    assert [f"{outcome.result.name.lower()} {outcome.octets}" for outcome in outcomes] == RECORDED[name]
    assert not any(outcome.missing for outcome in outcomes)
    assert (capture.others, capture.cut) == (0, "")


def test_the_violations_of_the_recorded_servers() -> None:
    """atftpd answers a duplicate ACK with DATA, dnsmasq leaves a lone CR in netascii; nobody else breaks a rule."""
    found = {}
    for path in sorted(CAPTURES.iterdir()):
        with path.open("rb") as stream:
            rules = [violation.rule for transfer in read_capture(stream).transfers for violation in check(transfer)]
        if rules:
            found[path.name] = rules
    assert found == {"dnsmasq-v6.pcap": ["lone-cr"], "sorcerer.pcapng": ["sorcerer"]}


def test_every_stall_of_the_recorded_loss_is_explained() -> None:
    """The relay dropped DATA 3 once and ACK 5 twice; curl had asked for a timeout of 6 s."""
    with (CAPTURES / "lossy.pcapng").open("rb") as stream:
        (transfer,) = read_capture(stream).transfers
    assert [round(stall.duration_s) for stall in find_stalls(transfer)] == [6, 6, 12]
    causes = [stall.cause for stall in find_stalls(transfer)]
    assert causes[0] == "the timeout that was granted: an earlier DATA 3 was lost before this point"
    assert causes[1] == causes[2]
    assert causes[1].startswith("ACK 5 was seen here but did not help the server: lost behind this point")
    assert outcome_of(transfer).resends == {("ACK", Why.DUPLICATE_DATA): 2, ("DATA", Why.TIMER): 2}
    assert outcome_of(transfer).result is Result.COMPLETE
