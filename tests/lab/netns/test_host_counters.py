from __future__ import annotations

import pytest

from blockstep_lab.netns.checks import HostCounters
from blockstep_lab.netns.host_counters import difference, parse_device, parse_snmp, read_counters
from blockstep_lab.netns.lab import Lab
from support.labs import udp_socket

DEVICES = """Inter-|   Receive                    |  Transmit
 face |bytes packets errs drop fifo frame compressed multicast|bytes packets errs drop fifo colls carrier compressed
    lo:       0       0    0    0    0     0     0     0        0       0    0    0    0     0       0          0
  lab0:     252       3    0    1    0     0     0     0      500       5    0    2    0     0       0          0
"""
SNMP = """Tcp: RtoAlgorithm RetransSegs
Tcp: 1 17
Udp: InDatagrams RcvbufErrors
Udp: 9 4
"""


def test_a_device_is_found_by_name() -> None:
    assert parse_device(DEVICES, "lab0") == (3, 5, 3)
    assert parse_device(DEVICES, "lab") == (0, 0, 0)


def test_tables_are_pairs_of_lines() -> None:
    assert parse_snmp(SNMP)["Tcp"]["RetransSegs"] == 17
    assert parse_snmp(SNMP)["Udp"]["RcvbufErrors"] == 4


def test_differences_keep_what_is_no_number() -> None:
    now, before = HostCounters(sent=9, received=8, congestion="bbr"), HostCounters(sent=4, received=8)
    assert difference(now, before) == HostCounters(sent=5, congestion="bbr")


@pytest.mark.netns
def test_a_host_counts_what_it_sends(shared_lab: Lab) -> None:
    before = shared_lab.left.call(read_counters)
    with udp_socket(shared_lab.left) as here, udp_socket(shared_lab.right) as there:
        for _ in range(5):
            here.sendto(b"x", there.getsockname())
            there.recv(10)
    counted = difference(shared_lab.left.call(read_counters), before)
    assert (counted.sent, counted.ring_drops) == (5, 0)
