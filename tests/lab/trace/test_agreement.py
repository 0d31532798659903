"""Wireshark's own dissector has to see in every packet of the test captures what we see."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from blockstep_lab.trace.capture import read_capture
from blockstep_lab.trace.records import packet_record
from support.capture_story import Story, ack, data, error, oack, read_request, write_request
from support.peers import peer_path

pytestmark = pytest.mark.peers("tshark")

CAPTURES = sorted((Path(__file__).parent / "captures").glob("*.pcap*"))
FIELDS = (
    "frame.number", "frame.time_epoch", "ip.src", "ip.dst", "ipv6.src", "ipv6.dst", "udp.srcport", "udp.dstport",
    "tftp.opcode", "tftp.source_file", "tftp.destination_file", "tftp.type", "tftp.option.name", "tftp.option.value",
    "tftp.error.code", "tftp.error.message", "tftp.block", "tftp.block.full",
)  # fmt: skip
SEPARATOR, INNER = "\x1f", "\x1e"


def theirs(path: Path) -> list[dict[str, str]]:
    """What tshark says of each packet that it takes for TFTP, as text; what a packet does not have is left out."""
    command = [peer_path("tshark"), "-n", "-r", str(path), "-d", "udp.port==6969,tftp", "-Y", "tftp", "-T", "fields"]
    command += ["-E", f"separator={SEPARATOR}", "-E", f"aggregator={INNER}"]
    for field in FIELDS:
        command += ["-e", field]
    output = subprocess.run(command, capture_output=True, check=True, timeout=60).stdout.decode()
    rows = (line.split(SEPARATOR) for line in output.split("\n") if line)
    packets = [{field: value for field, value in zip(FIELDS, row, strict=True) if value} for row in rows]
    for packet in packets:
        if packet["tftp.opcode"] not in ("1", "2"):  # it repeats the request's file name in all that follows
            packet.pop("tftp.source_file", None)
            packet.pop("tftp.destination_file", None)
    return packets


def ours(path: Path) -> list[dict[str, str]]:
    """The same of us. A frame that holds a whole burst gives its first block, as there."""
    with path.open("rb") as stream:
        transfers = read_capture(stream).transfers
    records: dict[int, dict[str, str]] = {}
    for transfer in transfers:
        for packet in transfer.packets:
            record = packet_record(transfer, packet)
            records.setdefault(packet.frame, dict(_texts(record)))
    return [records[frame] for frame in sorted(records)]


def _texts(record: dict[str, object]) -> Iterator[tuple[str, str]]:
    for field, value in record.items():
        if field in FIELDS and value not in ("", []):
            yield field, INNER.join(value) if isinstance(value, list) else str(value)


def assert_agreement(path: Path, count: int | None = None) -> None:
    here, there = ours(path), theirs(path)
    assert len(here) == len(there) if count is None else len(here) == len(there) == count
    for mine, wiresharks in zip(here, there, strict=True):
        assert mine == wiresharks


@pytest.mark.parametrize("path", CAPTURES, ids=lambda path: path.name)
def test_recorded_transfers(path: Path) -> None:
    assert_agreement(path)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_every_kind_of_packet_that_we_write(story: Story, host: str) -> None:
    story = Story(story.path, host)
    story.request(read_request("dir/na me", "netascii", blksize=1428, windowsize=4, tsize=0))
    story.server(oack(blksize=1428, windowsize=4, tsize=5000))
    story.client(ack(0))
    for index in range(1, 4):
        story.server(data(index, 1428), lost="loss" if index == 2 else "")
    story.client(ack(1))
    story.server(data(2, 1428))
    story.server(data(2, 1428), after_s=1)
    story.client(error(3, "disk full"))
    story.client_end = (host, 40001)
    story.request(write_request("up"))
    story.server(ack(0))
    story.client(data(1, 0))
    story.server(ack(1))
    assert_agreement(story.save(), 14)


@pytest.mark.slow
def test_block_numbers_past_the_wrap(story: Story) -> None:
    story.request(read_request(blksize=8))
    story.server(oack(blksize=8))
    story.client(ack(0))
    for index in range(1, 66_000):
        story.server(data(index, 8))
        story.client(ack(index))
    assert_agreement(story.save(), 3 + 2 * 65_999)


def test_a_burst_in_one_frame(story: Story) -> None:
    story.request(read_request(blksize=16, windowsize=4))
    story.server(oack(blksize=16, windowsize=4))
    story.client(ack(0))
    story.server(b"".join(data(index, 16) for index in range(1, 5)))
    story.client(ack(4))
    assert_agreement(story.save(), 5)


def test_the_checksums_that_we_write(story: Story) -> None:
    story.request(read_request())
    story.lock_step(1, 3)
    command = [peer_path("tshark"), "-r", str(story.save()), "-T", "fields"]
    for protocol in ("udp", "ip"):
        command += ["-o", f"{protocol}.check_checksum:TRUE", "-e", f"{protocol}.checksum.status"]
    output = subprocess.run(command, capture_output=True, check=True, timeout=60).stdout.decode()
    assert output.split() == ["1", "1"] * 7
