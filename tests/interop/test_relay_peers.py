"""Everybody's clients through the relay, to our server and to tftpd-hpa, with one packet in twenty lost; text to ours.

The file arrives as it was. And where a transfer stood still, the capture that the relay wrote says why: each stall is
laid to a packet that the link lost, by name, which no capture from outside could know. Seeds are fixed, so the same
packets are lost in every run: few, because most programs wait whole seconds for each (curl asks tftpd-hpa for six).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner

from blockstep_client.command import get
from blockstep_lab.relay import Relay
from blockstep_lab.relay_report import RelayReport
from blockstep_lab.trace.capture import read_capture
from blockstep_lab.trace.rules import check
from blockstep_lab.trace.stalls import find_stalls
from blockstep_lab.trace.transfer import Transfer
from support.foreign_clients import ATFTP, BUSYBOX, CURL, HPA, ForeignClient, each_client
from support.foreign_servers import ATFTPD, DNSMASQ, TFTPD_HPA, ForeignServer
from support.processes import running_server

Address = tuple[str, int]
Serving = Callable[[Path], AbstractContextManager[Address]]

CONTENT = random.Random("relay").randbytes(22 * 512 + 100)
LOSS = "loss 5%"
# Shorter silences may be a busy machine's.
STALL_S = 0.5


@contextmanager
def blockstep(root: Path) -> Iterator[Address]:
    with running_server(root, "--upload", "replace") as server:
        yield server.peer()


@contextmanager
def tftpd_hpa(root: Path) -> Iterator[Address]:
    with TFTPD_HPA.running(root, "127.0.0.1") as address:
        yield address


SERVERS = pytest.mark.parametrize(
    "serving",
    [
        pytest.param(blockstep, id="blockstep"),
        pytest.param(tftpd_hpa, id="tftpd-hpa", marks=[pytest.mark.peers("in.tftpd"), pytest.mark.slow]),
    ],
)
# One packet each way, and one from the server alone. Neither is of a transfer's end: a server does not wait for ever to
# see whether its last ACK has arrived, and tftp-hpa's client asks again after five seconds only.
SEED_BOTH, SEED_ONE = 93, 91
CLIENTS = each_client(CURL, HPA, ATFTP, BUSYBOX)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    root.mkdir()
    return root


@pytest.fixture
def capture(tmp_path: Path) -> Path:
    return tmp_path / "link.pcapng"


def bad_link(address: Address, seed: int, capture: Path) -> Relay:
    return Relay(address, conditions_up=LOSS, conditions_down=LOSS, seed=seed, pcap=capture)


def the_transfer_in(capture: Path) -> Transfer:
    with capture.open("rb") as stream:
        read = read_capture(stream)
    assert (len(read.transfers), read.others, read.dropped) == (1, 0, 0)
    return read.transfers[0]


def assert_explained(transfer: Transfer, report: RelayReport) -> None:
    """Every loss is in the capture, and every time that nothing moved is laid to one of them."""
    lost = [packet for packet in transfer.packets if packet.lost]
    assert len(lost) == report.up.counters.lost + report.down.counters.lost > 0
    unexplained = [stall for stall in find_stalls(transfer, STALL_S) if "the link lost" not in stall.cause]
    assert not unexplained


@SERVERS
@CLIENTS
def test_get(serving: Serving, client: ForeignClient, root: Path, capture: Path, tmp_path: Path) -> None:
    (root / "file").write_bytes(CONTENT)
    seed = SEED_BOTH if serving is blockstep else SEED_ONE
    with serving(root) as address, bad_link(address, seed, capture) as relay:
        client.get(relay.address[:2], "file", tmp_path / "got")
        report = relay.stop()
    assert (tmp_path / "got").read_bytes() == CONTENT
    transfer = the_transfer_in(capture)
    assert_explained(transfer, report)
    if serving is blockstep:
        assert check(transfer) == []


@pytest.mark.slow
@SERVERS
@CLIENTS
def test_put(serving: Serving, client: ForeignClient, root: Path, capture: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(CONTENT)
    with serving(root) as address, bad_link(address, SEED_ONE, capture) as relay:
        client.put(relay.address[:2], tmp_path / "file", "file")
        report = relay.stop()
    assert (root / "file").read_bytes() == CONTENT
    assert_explained(the_transfer_in(capture), report)


@pytest.mark.parametrize(
    "server",
    [pytest.param(each, id=each.name, marks=pytest.mark.peers(each.program)) for each in (TFTPD_HPA, ATFTPD, DNSMASQ)],
)
def test_text_that_our_client_gets(server: ForeignServer, root: Path, tmp_path: Path) -> None:
    """Of itself the client asks for no more than every server can repeat: atftpd cannot repeat text by windows."""
    text = CONTENT.replace(b"\r", b"\n")
    (root / "file.txt").write_bytes(text)
    lost = "drop DATA 3 once", "drop DATA 8 once", "drop ACK 10 once"
    with server.running(root, "127.0.0.1") as address, Relay(address, rules=lost) as relay:
        host, port = relay.address[:2]
        words = ["--mode", "netascii", "-b", "512", f"tftp://{host}:{port}/file.txt", "-o", str(tmp_path / "got")]
        result = CliRunner().invoke(get, words)
        report = relay.stop()
    assert result.exit_code == 0, result.output
    assert (tmp_path / "got").read_bytes() == text
    assert (report.down.counters.lost, report.up.counters.lost) == (2, 1)
