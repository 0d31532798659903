"""The writer: checksums, several processes, a process that is killed, a disk that is full."""

from __future__ import annotations

import io
import os
import signal
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blockstep.protocol.errors import LocalError
from blockstep.transport.pcapng_writer import PAYLOAD_LARGEST, PcapngWriter
from blockstep_lab.trace.frames import Frame
from blockstep_lab.trace.ip import DatagramReader
from blockstep_lab.trace.reader import CaptureReader, read_frames

Ends = tuple[tuple[str, int], tuple[str, int]]
V4: Ends = ("127.0.0.1", 40000), ("127.0.0.2", 69)
V6: Ends = ("::1", 40000), ("fe80::1%lo", 69)


def frames_of(path: Path) -> list[Frame]:
    with path.open("rb") as stream:
        return list(read_frames(stream, CaptureReader()))


def ones_complement_sum(octets: bytes) -> int:
    """RFC 1071, word by word."""
    octets += bytes(len(octets) % 2)
    total: int = sum(struct.unpack(f">{len(octets) // 2}H", octets))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


@pytest.mark.parametrize("ends", [V4, V6], ids=["IPv4", "IPv6"])
@given(payload=st.binary(max_size=600))
def test_checksums_are_right(tmp_path_factory: pytest.TempPathFactory, ends: tuple[tuple[str, int], ...],
                             payload: bytes) -> None:  # fmt: skip
    path = tmp_path_factory.mktemp("writer") / "x.pcapng"
    with PcapngWriter(path) as writer:
        writer.write(1, ends[0], ends[1], payload)
    packet = frames_of(path)[0].data
    if packet[0] >> 4 == 4:
        assert ones_complement_sum(packet[:20]) == 0xFFFF
        addresses, udp = packet[12:20], packet[20:]
    else:
        addresses, udp = packet[8:40], packet[40:]
    pseudo = addresses + struct.pack(">II", len(udp), 17)
    assert ones_complement_sum(pseudo + udp) == 0xFFFF
    assert udp[6:8] != b"\0\0"
    assert udp[8:] == payload


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "x.pcapng"
    mapped: Ends = ("::ffff:127.0.0.1", 40000), ("::ffff:127.0.0.2", 69)
    with PcapngWriter(path) as writer:
        for number, (source, destination) in enumerate((V4, V6, mapped)):
            writer.write(10**18 + number, source, destination, memoryview(b"abc"), comment="lost: rule" * number)
    reader = DatagramReader()
    datagrams = [reader.maybe_datagram(frame) for frame in frames_of(path)]
    assert [(found.time_ns - 10**18, *map(str, (found.source, found.destination)), found.payload, found.comment)
            for found in datagrams if found] == [
        (0, "127.0.0.1:40000", "127.0.0.2:69", b"abc", ""),
        (1, "[::1]:40000", "[fe80::1]:69", b"abc", "lost: rule"),
        (2, "127.0.0.1:40000", "127.0.0.2:69", b"abc", "lost: rule" * 2),
    ]  # fmt: skip


def test_the_largest_datagram(tmp_path: Path) -> None:
    path = tmp_path / "x.pcapng"
    with PcapngWriter(path) as writer:
        writer.write(1, *V4, bytes(PAYLOAD_LARGEST))
        with pytest.raises(LocalError, match="no UDP payload"):
            writer.write(1, *V4, bytes(PAYLOAD_LARGEST + 1))
    assert [len(frame.data) for frame in frames_of(path)] == [65535]


def test_wrong_addresses_are_the_callers_fault(tmp_path: Path) -> None:
    with PcapngWriter(tmp_path / "x.pcapng") as writer:
        wrong: list[Ends] = [(V4[0], V6[0]), (("localhost", 1), V4[0]), (("127.0.0.1", 70000), V4[0])]
        for ends in wrong:
            with pytest.raises(LocalError):
                writer.write(1, *ends, b"")


def test_a_path_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(LocalError, match=r"cannot write the capture .*x\.pcapng: No such file"):
        PcapngWriter(tmp_path / "missing" / "x.pcapng")


def test_a_full_disk_is_remembered_and_breaks_nothing() -> None:
    with PcapngWriter("/dev/full") as writer:
        writer.write(1, *V4, b"abc")
        writer.flush()
        assert isinstance(writer.error, OSError)
        writer.write(10**10, *V4, b"abc")


def test_blocks_are_flushed_by_age_and_by_size(tmp_path: Path) -> None:
    path = tmp_path / "x.pcapng"
    with PcapngWriter(path) as writer:
        empty = path.stat().st_size
        writer.write(10**18, *V4, b"first")
        assert path.stat().st_size > empty
        written = path.stat().st_size
        writer.write(10**18 + 1, *V4, b"waits")
        assert path.stat().st_size == written
        writer.write(10**18 + 2, *V4, bytes(PAYLOAD_LARGEST))
        assert path.stat().st_size > written + PAYLOAD_LARGEST


def test_children_write_into_one_file(tmp_path: Path) -> None:
    path = tmp_path / "x.pcapng"
    writer = PcapngWriter(path)
    writer.write(10**18, *V4, b"parent")
    writer.write(10**18, *V4, b"parent waits")
    children = []
    for child in range(3):
        pid = os.fork()
        if not pid:
            for number in range(200):
                writer.write(10**18 + number, *V4, b"child %d" % child)
            writer.close()
            os._exit(0)
        children.append(pid)
    assert [os.waitpid(pid, 0)[1] for pid in children] == [0, 0, 0]
    writer.close()
    payloads = [frame.data[28:] for frame in frames_of(path)]
    assert sorted(set(payloads)) == [b"child 0", b"child 1", b"child 2", b"parent", b"parent waits"]
    assert [payloads.count(b"child %d" % child) for child in range(3)] == [200, 200, 200]
    assert payloads.count(b"parent waits") == 1


def test_a_killed_process_leaves_a_readable_file(tmp_path: Path) -> None:
    path = tmp_path / "x.pcapng"
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        writer = PcapngWriter(path)
        for number in range(1000):
            writer.write(10**18 + number * 1_000_000, *V4, bytes(500))
            if number == 500:
                os.write(writing, b"x")
        signal.pause()
        os._exit(1)
    os.read(reading, 1)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    os.close(reading)
    os.close(writing)
    frames = list(read_frames(io.BytesIO(path.read_bytes()), CaptureReader()))
    assert len(frames) >= 250
