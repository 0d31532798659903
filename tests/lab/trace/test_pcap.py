"""Classic pcap."""

from __future__ import annotations

import pytest

from blockstep_lab.trace.frames import CaptureError, Frame
from support.capture_bytes import PACKET, pcap, read


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize(("magic", "time_ns"), [(0xA1B2C3D4, 5_000_007_000), (0xA1B23C4D, 5_000_000_007)])
def test_pcap_in_both_byte_orders_and_both_units(order: str, magic: int, time_ns: int) -> None:
    assert read(pcap(order, magic)) == [Frame(1, time_ns, 101, PACKET, 99)]


def test_only_version_2_is_known() -> None:
    with pytest.raises(CaptureError, match="version 3"):
        read(pcap().replace(b"\2\0\4\0", b"\3\0\4\0"))
