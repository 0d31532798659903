"""Against a running `blockstep serve`: over loopback, and over a cable between two network namespaces."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import sys
import time
from pathlib import Path

import pytest

from blockstep.protocol.errors import LocalError
from blockstep_lab.compare.grid import Order
from blockstep_lab.compare.remote import Remote, Server, remote_link
from blockstep_lab.compare.results import OK, CompareResult
from blockstep_lab.netns.host import Host
from blockstep_lab.simulation import content_of
from support.compared import contender
from support.labs import import_path, obstacle
from support.processes import RunningServer, running_server
from support.veth import two_hosts

CONTENT = content_of(200_000)
SERVE = [sys.executable, "-W", "error", "-m", "blockstep"]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "file").write_bytes(CONTENT)
    return tmp_path / "root"


def server_of(running: RunningServer, name: str = "file") -> Server:
    host, udp_port = running.peer()
    tcp = next(each for each in running.ready["addresses"] if "tcp" in each and each.startswith(host))
    return Server(host, udp_port, int(tcp.split()[0].rpartition(":")[2]), name)


def await_children(running: RunningServer) -> None:
    """A connection that asks for nothing, as those that measure the round trip, leaves no line in the log."""
    while running.children():
        time.sleep(0.01)


def test_runs_against_a_server_are_held_against_what_it_gave_first(root: Path) -> None:
    with running_server(root, "--tcp", "0") as running:
        server = server_of(running)
        remote = Remote(server, max_time_s=10)
        assert (remote.file_bytes, remote.sha256) == (len(CONTENT), hashlib.sha256(CONTENT).hexdigest())
        assert 0 < remote.rtt_s < 1
        path = remote_link(server, remote.rtt_s)
        assert path.loss is None
        for contender_id in ("udp-w16-b1428", "tcp-cubic"):
            run = remote.run(Order(contender(contender_id), path, 0, "7")).run
            assert (run.state, run.file_bytes, run.resends, run.wire_bytes) == (OK, len(CONTENT), None, None)
            assert run.cpu_receiver_s
        remote.close()
        await_children(running)


def test_a_server_without_tcp_is_answered_with_how_to_start_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(LocalError, match=rf"no server listens there; start it there with: .* --tcp {port} FOLDER"):
        Remote(Server("127.0.0.1", 69, port, "file"), max_time_s=5)


def test_a_file_that_is_not_there_is_named(root: Path) -> None:
    with running_server(root, "--tcp", "0") as running:
        with pytest.raises(LocalError, match="does not give 'nothing' over TCP: file not found"):
            Remote(server_of(running, "nothing"), max_time_s=5)
        await_children(running)


def wait_for_tcp(host: Host, address: tuple[str, int]) -> None:
    for _ in range(200):
        try:
            host.call(lambda: socket.create_connection(address, 1).close())
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise AssertionError(f"nothing listens on {address}")


@pytest.mark.netns
def test_compare_goes_over_a_cable_between_two_hosts(root: Path, tmp_path: Path) -> None:
    if os.geteuid() or obstacle():
        pytest.skip(obstacle() or "needs root")
    environ = import_path()
    record = tmp_path / "out.json"
    with two_hosts() as (near, far):
        serve = [*SERVE, "serve", str(root), "-b", far.address, "--port", "6969", "--tcp", "6969", "--user", "root"]
        with (tmp_path / "log").open("w") as log:
            far.popen(serve, env=environ, stderr=log)
        wait_for_tcp(near, (far.address, 6969))
        compare = [*SERVE, "compare", "--host", f"{far.address}:6969", "file", "-n", "2", "--json", str(record)]
        ended = near.run([*compare, "--windowsize", "1,16"], env=environ, capture_output=True, timeout=60)
    assert ended.returncode == 0, ended.stderr.decode()
    result = CompareResult.read(record)
    assert result.complete
    assert {run.state for run in result.runs} == {OK}
    assert {run.sha256 for run in result.runs} == {hashlib.sha256(CONTENT).hexdigest()}
    assert [each.label for each in result.contenders] == ["UDP lock-step", "UDP window 16", "TCP (the server's)"]
    assert json.loads(record.read_text())["method"]["where"] == "host"
    assert b"a real path to" in ended.stdout
