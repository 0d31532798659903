from __future__ import annotations

from dataclasses import replace
from functools import partial
from ipaddress import ip_network
from typing import Any

import pytest

from blockstep_server.admission import Admission, Outlook, Policy, Verdict, claim_of
from blockstep_server.listen import Arrival, SockAddr
from blockstep_server.values import Network

ARRIVAL = Arrival(b"\0\1file\0octet\0", ("192.0.2.1", 2070), "192.0.2.99", 69)


def networks(*texts: str) -> tuple[Network, ...]:
    return tuple(map(ip_network, texts))


def arrival_from(host: str, port: int = 2070) -> Arrival:
    peer: SockAddr = (host, port, 0, 0) if ":" in host else (host, port)
    return replace(ARRIVAL, peer=peer, local="2001:db8::99" if ":" in host else ARRIVAL.local)


def filled(policy: Policy, *hosts: str) -> Admission:
    admission = Admission(policy)
    for number, host in enumerate(hosts):
        admission.occupy(claim_of(arrival_from(host, 3000 + number)))
    return admission


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({}, Verdict.ACCEPTED),
        ({"data": b"\0\2file\0octet\0"}, Verdict.ACCEPTED),
        ({"data": b"\0\1"}, Verdict.ACCEPTED),  # what is wrong with it is for the child to say
        ({"data": b""}, Verdict.NOT_A_REQUEST),
        ({"data": b"\0"}, Verdict.NOT_A_REQUEST),
        ({"data": b"\0\4\0\1"}, Verdict.NOT_A_REQUEST),
        ({"data": b"\0\5\0\1\0"}, Verdict.NOT_A_REQUEST),
        ({"data": b"\1\1file\0octet\0"}, Verdict.NOT_A_REQUEST),
        ({"whole": False}, Verdict.NOT_A_REQUEST),
        ({"unicast": False}, Verdict.NOT_UNICAST),
        ({"peer": ("192.0.2.1", 0)}, Verdict.BAD_SOURCE),
        ({"peer": ("192.0.2.99", 69)}, Verdict.BAD_SOURCE),
        ({"peer": ("192.0.2.99", 70)}, Verdict.ACCEPTED),
    ],
)
def test_what_is_looked_at_before_anything_is_counted(changes: dict[str, Any], verdict: Verdict) -> None:
    assert Admission(Policy(max_sessions=10)).judge(replace(ARRIVAL, **changes), 0.0) is verdict


@pytest.mark.parametrize(
    ("allow", "deny", "host", "served"),
    [
        ((), (), "192.0.2.1", True),
        (("192.0.2.0/24",), (), "192.0.2.1", True),
        (("192.0.2.0/24",), (), "198.51.100.1", False),
        (("192.0.2.0/24",), (), "2001:db8::1", False),
        (("192.0.2.0/24", "2001:db8::/32"), (), "2001:db8::1", True),
        ((), ("192.0.2.0/24",), "192.0.2.1", False),
        ((), ("192.0.2.0/24",), "198.51.100.1", True),
        (("192.0.2.0/24",), ("192.0.2.1",), "192.0.2.1", False),
        (("192.0.2.1",), ("192.0.2.0/24",), "192.0.2.1", False),
    ],
)
def test_networks_decide_and_deny_beats_allow(
    allow: tuple[str, ...], deny: tuple[str, ...], host: str, served: bool
) -> None:
    admission = Admission(Policy(max_sessions=10, allow=networks(*allow), deny=networks(*deny)))
    assert admission.judge(arrival_from(host), 0.0) is (Verdict.ACCEPTED if served else Verdict.DENIED)


def test_a_scope_does_not_confuse_the_networks() -> None:
    assert Admission(Policy(max_sessions=1, allow=networks("fe80::/10"))).is_allowed("fe80::1%eth0")


@pytest.mark.parametrize(
    ("max_sessions", "taken", "chance", "verdict"),
    [
        (4, 3, 0.99, Verdict.ACCEPTED),  # the shedding starts above three quarters
        (8, 6, 0.0, Verdict.ACCEPTED),
        (8, 7, 0.49, Verdict.SHED),  # half of the way from 6 to 8
        (8, 7, 0.51, Verdict.ACCEPTED),
        (8, 8, 0.99, Verdict.FULL),
        (1, 0, 0.0, Verdict.ACCEPTED),
        (1, 1, 0.99, Verdict.FULL),
        (1000, 750, 0.0, Verdict.ACCEPTED),
        (1000, 875, 0.499, Verdict.SHED),
        (1000, 875, 0.501, Verdict.ACCEPTED),
        (1000, 999, 0.995, Verdict.SHED),
        (1000, 999, 0.997, Verdict.ACCEPTED),
    ],
)
def test_the_total_cap_and_the_shedding_below_it(
    max_sessions: int, taken: int, chance: float, verdict: Verdict
) -> None:
    hosts = [f"10.0.{number // 250}.{number % 250}" for number in range(taken)]
    admission = filled(Policy(max_sessions=max_sessions), *hosts)
    assert len(admission) == taken
    assert admission.judge(ARRIVAL, chance) is verdict


@pytest.mark.parametrize(
    ("held", "host", "verdict"),
    [
        (["192.0.2.1"], "192.0.2.1", Verdict.ACCEPTED),
        (["192.0.2.1", "192.0.2.1"], "192.0.2.1", Verdict.CLIENT_FULL),
        (["192.0.2.1", "192.0.2.1"], "192.0.2.2", Verdict.ACCEPTED),
        (["2001:db8::1", "2001:db8::2"], "2001:db8::3", Verdict.CLIENT_FULL),  # one /64 is one host
        (["2001:db8::1", "2001:db8::2"], "2001:db8:0:1::3", Verdict.ACCEPTED),
    ],
)
def test_the_cap_of_one_source(held: list[str], host: str, verdict: Verdict) -> None:
    assert filled(Policy(max_sessions=100, max_per_client=2), *held).judge(arrival_from(host), 0.0) is verdict


@pytest.mark.parametrize(
    ("busy", "over", "verdict"),
    [
        (1, 1, Verdict.ACCEPTED),
        (2, 0, Verdict.CLIENT_FULL),
        (2, 1, Verdict.CLIENT_FULL),
        (0, 3, Verdict.ACCEPTED),
        (0, 4, Verdict.CLIENT_FULL),
    ],
)
def test_what_only_stays_takes_nothing_from_the_share_of_its_client(busy: int, over: int, verdict: Verdict) -> None:
    admission = Admission(Policy(max_sessions=100, max_per_client=2))
    for number in range(busy + over):
        claim = claim_of(arrival_from("192.0.2.1", 3000 + number))
        admission.occupy(claim, partial(Outlook, settled=number >= busy))
    assert admission.judge(arrival_from("192.0.2.1"), 0.0) is verdict
    assert admission.judge(arrival_from("192.0.2.2"), 0.0) is Verdict.ACCEPTED


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({}, Verdict.REPEATED),
        ({"data": b"\0\1other\0octet\0"}, Verdict.ACCEPTED),
        ({"peer": ("192.0.2.1", 2071)}, Verdict.ACCEPTED),
        ({"peer": ("192.0.2.2", 2070)}, Verdict.ACCEPTED),
        ({"local": "192.0.2.98"}, Verdict.ACCEPTED),
    ],
)
def test_the_same_words_of_the_same_asker_are_one_request(changes: dict[str, Any], verdict: Verdict) -> None:
    admission = Admission(Policy(max_sessions=10))
    admission.occupy(claim_of(ARRIVAL))
    assert admission.judge(replace(ARRIVAL, **changes), 0.0) is verdict


def test_a_place_comes_back() -> None:
    admission = Admission(Policy(max_sessions=1))
    place = admission.occupy(claim_of(ARRIVAL))
    assert admission.judge(ARRIVAL, 0.9) is Verdict.REPEATED
    admission.release(place)
    assert len(admission) == 0
    assert admission.judge(ARRIVAL, 0.9) is Verdict.ACCEPTED


@pytest.mark.parametrize(
    ("outlook", "came_ns", "verdict"),
    [
        (Outlook(settled=False), 9, Verdict.REPEATED),
        (Outlook(settled=True, heard_ns=8), 7, Verdict.REPEATED),
        (Outlook(settled=True, heard_ns=8), 9, Verdict.ACCEPTED),
        (Outlook(settled=True), 9, Verdict.ACCEPTED),
        (Outlook(settled=True), 0, Verdict.REPEATED),
    ],
)
def test_what_comes_again_after_the_end_is_new(outlook: Outlook, came_ns: int, verdict: Verdict) -> None:
    admission = Admission(Policy(max_sessions=9))
    admission.occupy(claim_of(ARRIVAL), lambda: outlook)
    assert admission.judge(replace(ARRIVAL, came_ns=came_ns), 0.0) is verdict


def test_the_place_of_one_that_is_over_does_not_make_the_next_one_free() -> None:
    admission = Admission(Policy(max_sessions=9))
    first = admission.occupy(claim_of(ARRIVAL), lambda: Outlook(settled=True, heard_ns=1))
    second = admission.occupy(claim_of(ARRIVAL))
    later = replace(ARRIVAL, came_ns=9)
    admission.release(first)
    assert admission.judge(later, 0.0) is Verdict.REPEATED
    admission.release(second)
    assert admission.judge(later, 0.0) is Verdict.ACCEPTED
    assert len(admission) == 0


def test_judging_changes_nothing() -> None:
    admission = Admission(Policy(max_sessions=1))
    assert [admission.judge(ARRIVAL, 0.0) for _ in range(3)] == [Verdict.ACCEPTED] * 3
