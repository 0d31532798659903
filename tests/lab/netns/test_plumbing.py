from __future__ import annotations

import socket
import sys
from pathlib import Path

import pytest

from blockstep.protocol.errors import LocalError
from blockstep_lab.netns import plumbing
from blockstep_lab.netns.lab import Lab
from blockstep_lab.netns.namespaces import LabUnavailable

TCP_CONGESTION = 13


def test_without_the_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyroute2", None)
    with pytest.raises(LabUnavailable, match=r"pip install 'blockstep\[lab\]'"):
        Lab()


def device_facts() -> tuple[list[str], str]:
    devices = Path("/proc/self/net/dev").read_text().splitlines()[2:]
    ipv6 = Path("/proc/self/net/if_inet6")
    return [line.split(":")[0].strip() for line in devices], ipv6.read_text() if ipv6.exists() else ""


@pytest.mark.netns
def test_a_host_has_one_device_and_no_ipv6(shared_lab: Lab) -> None:
    assert shared_lab.left.call(device_facts) == (["lo", plumbing.DEVICE], "")


@pytest.mark.netns
def test_a_host_has_its_own_loopback(shared_lab: Lab) -> None:
    with shared_lab.left.open_socket() as one, shared_lab.left.open_socket() as other:
        one.bind(("127.0.0.1", 0))
        one.settimeout(10)
        other.sendto(b"hello", one.getsockname())
        assert one.recv(10) == b"hello"


@pytest.mark.netns
def test_there_is_no_way_to_anybody_else(shared_lab: Lab) -> None:
    with shared_lab.left.open_socket() as sock, pytest.raises(OSError, match="unreachable"):
        sock.sendto(b"x", ("192.0.2.1", 9))


def available() -> list[str]:
    return Path("/proc/sys/net/ipv4/tcp_available_congestion_control").read_text().split()


@pytest.mark.netns
@pytest.mark.parametrize("name", available())
def test_both_ends_of_a_connection_use_the_congestion_control_that_was_asked_for(shared_lab: Lab, name: str) -> None:
    shared_lab.set_congestion(name)
    with shared_lab.right.open_socket(kind=socket.SOCK_STREAM) as listener:
        listener.bind((shared_lab.right.address, 0))
        listener.listen()
        with shared_lab.left.open_socket(kind=socket.SOCK_STREAM) as client:
            client.settimeout(10)
            client.connect(listener.getsockname())
            server, _ = listener.accept()
            with server:
                for end in (client, server):
                    assert end.getsockopt(socket.IPPROTO_TCP, TCP_CONGESTION, 16).rstrip(b"\0").decode() == name
    assert shared_lab.checks().congestion == name
    shared_lab.set_congestion(None)


@pytest.mark.netns
def test_an_unknown_congestion_control_is_answered_with_those_there_are(shared_lab: Lab) -> None:
    with pytest.raises(LocalError, match=r"no TCP congestion control 'cubik' here; there is .*reno"):
        shared_lab.set_congestion("cubik")
    with pytest.raises(LocalError, match="no TCP congestion control 'cubik'"):
        Lab(congestion="cubik")


@pytest.mark.netns
def test_hosts_know_each_other_by_name(shared_lab: Lab) -> None:
    if not shared_lab.names_resolve:
        pytest.skip("this system does not let us mount anything")
    before = Path("/etc/hosts").read_text()
    assert shared_lab.left.call(socket.gethostbyname, "right") == shared_lab.right.address
    assert Path("/etc/hosts").read_text() == before
    assert "198.18.0.1\tleft" in shared_lab.left.call(Path("/etc/hosts").read_text)
