from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from blockstep.protocol.errors import LocalError
from blockstep_server.config import ServerConfig
from blockstep_server.upload_policy import UploadPolicy
from blockstep_server.values import PortRange

ROOT = Path("/srv/tftp")


def test_the_defaults_are_read_only_and_hold_together() -> None:
    config = ServerConfig(root=ROOT)
    assert not config.writable
    assert config.windowsize_max <= 64
    assert config.give_up_s <= 30, "a silent client is to be gone within half a minute"
    assert config.limits.blksize_max == 65464


@pytest.mark.parametrize(
    "words",
    [
        {"single_port": True, "port_range": PortRange(1000, 2000)},
        {"max_upload_bytes": 5},
        {"refuse": frozenset({"blocksize"})},
        {"port": 65536},
        {"blksize_max": 7},
        {"blksize_max": (1 << 20) + 1},
        {"windowsize_max": 0},
        {"timeout_s": 0.0},
        {"timeout_s": float("nan")},
        {"retries": -1},
        {"max_sessions": 0},
        {"max_per_client": 0},
        {"drain_timeout_s": -1.0},
        {"max_time_s": 0.0},
        {"udp": False, "unix": (Path("/run/x"),), "pcap": Path("x.pcapng")},
    ],
    ids=str,
)
def test_contradictions_are_refused(words: dict[str, Any]) -> None:
    with pytest.raises(LocalError, match=r"."):
        ServerConfig(root=ROOT, **words)


def test_uploads_make_it_writable() -> None:
    assert ServerConfig(root=ROOT, uploads=UploadPolicy.CREATE, max_upload_bytes=5).writable
