"""Labs as their users see them: what is asked for happens, to UDP and TCP alike, and the checks tell."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import statistics
import sys
import time
from pathlib import Path

import pytest

from blockstep.protocol.errors import LocalError
from blockstep_lab.netns.lab import Lab
from support.labs import import_path, udp_socket

pytestmark = pytest.mark.netns

ROUND_TRIPS = 30


def ask(client: socket.socket, server: socket.socket, payload: bytes = b"ping") -> float:
    """One question and one answer; the seconds that took."""
    begun = time.perf_counter()
    client.sendto(payload, server.getsockname())
    server.sendto(server.recv(2000), client.getsockname())
    assert client.recv(2000) == payload
    return time.perf_counter() - begun


def tcp_pair(lab: Lab) -> tuple[socket.socket, socket.socket]:
    with lab.right.open_socket(kind=socket.SOCK_STREAM) as listener:
        listener.bind((lab.right.address, 0))
        listener.listen()
        client = lab.left.open_socket(kind=socket.SOCK_STREAM)
        client.settimeout(30)
        client.connect(listener.getsockname())
        server, _ = listener.accept()
        server.settimeout(30)
        return client, server


def test_a_delay_each_way_is_kept() -> None:
    with Lab("delay 25ms", "delay 25ms") as lab, udp_socket(lab.left) as client, udp_socket(lab.right) as server:
        times = [ask(client, server) for _ in range(ROUND_TRIPS)]
        checks = lab.checks()
    assert min(times) >= 0.050
    assert statistics.median(times) < 0.060, times
    assert checks.left_to_right.counters.packets == checks.right_to_left.counters.packets == ROUND_TRIPS
    assert (checks.ring_drops, checks.send_errors, checks.strangers) == (0, 0, 0)


def test_tcp_and_udp_meet_one_link() -> None:
    sent = os.urandom(300_000)
    with Lab("loss 2% delay 1ms", "loss 2% delay 1ms", seed=11) as lab:
        client, server = tcp_pair(lab)
        with client, server:
            received = lab.right.start(read_all, server, len(sent))
            client.sendall(sent)
            assert received.result(30) == hashlib.sha256(sent).hexdigest()
        checks = lab.checks()
    assert checks.left_to_right.counters.lost > 0
    assert checks.hosts["left"].tcp_resends > 0
    assert checks.ring_drops == 0


def read_all(sock: socket.socket, size_bytes: int) -> str:
    digest, left = hashlib.sha256(), size_bytes
    while left and (chunk := sock.recv(min(left, 1 << 16))):
        digest.update(chunk)
        left -= len(chunk)
    return digest.hexdigest()


def test_a_rate_is_kept() -> None:
    packets, size = 200, 1250  # 10,000 bits each: 1 ms at 10 Mbit/s
    with Lab("rate 10mbit") as lab, udp_socket(lab.left) as client, udp_socket(lab.right) as server:
        begun = time.perf_counter()
        for _ in range(packets):
            client.sendto(bytes(size - 28), server.getsockname())
        for _ in range(packets):
            server.recv(2000)
        took_s = time.perf_counter() - begun
    assert packets * size * 8 / 10e6 <= took_s < 1.0


def test_a_change_begins_a_new_run() -> None:
    with Lab("loss 100%", seed=3) as lab, udp_socket(lab.left) as client, udp_socket(lab.right) as server:
        client.sendto(b"lost", server.getsockname())
        while lab.checks().left_to_right.counters.lost < 1:
            pass
        lab.set_conditions("", seed=4)
        assert lab.checks().left_to_right.counters.packets == 0
        ask(client, server)
        checks = lab.checks()
    assert (checks.seed, checks.left_to_right.counters.packets, checks.hosts["left"].sent) == ("4", 1, 1)


def test_corruption_reaches_the_application_only_when_asked_to() -> None:
    for mend, arrives in ((True, True), (False, False)):
        lab = Lab("corrupt 100%", mend_checksums=mend, seed=1)
        with lab, udp_socket(lab.left) as client, udp_socket(lab.right) as server:
            client.sendto(bytes(100), server.getsockname())
            lab.set_conditions("")  # what follows comes whole, and behind it
            client.sendto(b"end", server.getsockname())
            got = [server.recv(2000)]
            if got[0] != b"end":
                got.append(server.recv(2000))
        assert len(got) == 1 + arrives
        if arrives:
            assert sum(octet.bit_count() for octet in got[0]) == 1


def test_many_hosts_share_one_link() -> None:
    with Lab("loss 100%", "", hosts_left=3, hosts_right=2, seed=1) as lab:
        assert list(lab.hosts) == ["left", "left2", "left3", "right", "right2"]
        with udp_socket(lab.hosts["left2"]) as one, udp_socket(lab.hosts["left3"]) as other:
            ask(one, other)  # hosts of one side reach each other
        with udp_socket(lab.hosts["right2"]) as far, udp_socket(lab.hosts["left3"]) as near:
            far.sendto(b"down", near.getsockname())
            assert near.recv(10) == b"down"
        checks = lab.checks()
    assert (checks.left_to_right.counters.packets, checks.right_to_left.counters.packets) == (0, 1)


def test_a_file_goes_both_ways_with_our_programs(tmp_path: Path) -> None:
    root, here = tmp_path / "root", tmp_path / "here"
    root.mkdir()
    root.chmod(0o777)  # a server that is started as root goes on as somebody else
    here.mkdir()
    content = os.urandom(200_000)
    (root / "down.bin").write_bytes(content)
    (here / "up.bin").write_bytes(content)
    blockstep = [sys.executable, "-m", "blockstep"]
    with Lab("loss 1% delay 2ms", "loss 1% delay 2ms", seed=5) as lab:
        serve = [
            *blockstep,
            "serve",
            os.fspath(root),
            "-b",
            lab.right.address,
            "-p",
            "69",
            "-W",
            "--log-format",
            "json",
        ]
        log_path = tmp_path / "log"
        with log_path.open("wb") as log:
            server = lab.right.popen(serve, stderr=log, env=import_path())
        while not log_path.read_text():
            assert server.poll() is None
            time.sleep(0.01)
        for words in (["get", "right:down.bin"], ["put", "up.bin", "right:"]):
            words = [word.replace("right", lab.right.address) for word in words]
            got = lab.left.run([*blockstep, *words, "--json"], cwd=here, env=import_path(), capture_output=True)
            assert got.returncode == 0, got.stderr.decode() + log_path.read_text()
            assert json.loads(got.stdout)["ok"]
        checks = lab.checks()
    assert (here / "down.bin").read_bytes() == (root / "up.bin").read_bytes() == content
    assert checks.left_to_right.counters.lost + checks.right_to_left.counters.lost > 0
    assert checks.ring_drops == 0


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(LocalError, match="did you mean 'delay'"):
        Lab("dealy 5ms")
    with pytest.raises(LocalError, match="at least one host on each side"):
        Lab(hosts_left=0)
    with pytest.raises(LocalError, match="the MTU goes from 576 to 65535"):
        Lab(mtu=100)
    with pytest.raises(LocalError, match="there is tun and veth"):
        Lab(carrier="tap")


def test_stopping_twice_is_stopping_once_and_no_descriptor_stays() -> None:
    before = set(os.listdir("/proc/self/fd"))
    lab = Lab()
    lab.left.call(os.getpid)
    lab.stop()
    lab.stop()
    assert set(os.listdir("/proc/self/fd")) == before
    with pytest.raises(LocalError, match="gone"):
        lab.checks()


def test_a_lab_that_cannot_start_leaves_no_descriptor() -> None:
    before = set(os.listdir("/proc/self/fd"))
    with pytest.raises(LocalError):
        Lab(congestion="nonsense")
    assert set(os.listdir("/proc/self/fd")) == before
