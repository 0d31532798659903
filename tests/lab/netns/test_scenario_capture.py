from __future__ import annotations

from pathlib import Path

from blockstep.protocol.wire import ack_bytes
from blockstep.transport.pcapng_writer import PcapngWriter
from blockstep_lab.scenario_capture import read_transfers

CLIENT, SERVER, TID, OTHER_TID = ("198.18.0.1", 5000), ("198.19.0.1", 69), ("198.19.0.1", 6000), ("198.19.0.1", 6001)
RRQ = b"\0\1a.bin\0octet\0"
DATA = b"\0\3\0\1short"


def capture(path: Path, *packets: tuple[tuple[str, int], tuple[str, int], bytes]) -> Path:
    with PcapngWriter(path) as writer:
        for number, (source, destination, payload) in enumerate(packets):
            writer.write(number * 1_000_000_000, source, destination, payload)
    return path


def test_a_transfer_in_numbers(tmp_path: Path) -> None:
    path = capture(
        tmp_path / "one.pcapng",
        (CLIENT, SERVER, RRQ),
        (TID, CLIENT, DATA),
        (TID, CLIENT, DATA),
        (CLIENT, TID, ack_bytes(1)),
    )
    (seen,) = read_transfers(path)
    assert (seen.file, seen.blocks, seen.resends, seen.answers, seen.duration_s) == ("a.bin", 1, 1, 1, 3.0)
    assert seen.violations == ()


def test_two_answers_to_one_request_are_two(tmp_path: Path) -> None:
    path = capture(
        tmp_path / "two.pcapng",
        (CLIENT, SERVER, RRQ),
        (TID, CLIENT, DATA),
        (OTHER_TID, CLIENT, DATA),
        (CLIENT, TID, ack_bytes(1)),
    )
    (seen,) = read_transfers(path)
    assert seen.answers == 2


def test_an_empty_capture_has_no_transfers(tmp_path: Path) -> None:
    assert read_transfers(capture(tmp_path / "none.pcapng")) == []
