from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from blockstep_lab.netns.packets import ICMP, TCP, UDP, damage_start, is_ipv4, mended, payload_start, udp_payload_start
from support.ip_packets import ipv4, reference_sum, tcp, udp


def test_the_payload_starts_behind_the_headers() -> None:
    assert payload_start(ipv4(UDP, udp(b"data"))) == 28
    assert payload_start(ipv4(UDP, udp(b"data"), options=bytes(8))) == 36
    assert payload_start(ipv4(TCP, tcp(b"data", words=8))) == 52
    assert payload_start(ipv4(ICMP, bytes(8) + b"data")) == 28
    assert payload_start(ipv4(89, b"data")) == 20


def test_a_later_fragment_is_payload_from_its_start() -> None:
    assert payload_start(ipv4(UDP, b"rest of it", fragment=185)) == 20


def test_without_payload_the_transport_header_is_damaged() -> None:
    ack = ipv4(TCP, tcp(b""))
    assert payload_start(ack) == len(ack)
    assert damage_start(ack) == 20
    assert damage_start(ipv4(UDP, udp(b"x"))) == 28


def test_only_whole_udp_datagrams_have_a_payload_for_rules() -> None:
    assert udp_payload_start(ipv4(UDP, udp(b"x"))) == 28
    assert udp_payload_start(ipv4(TCP, tcp(b"x"))) == 0
    assert udp_payload_start(ipv4(UDP, b"rest", fragment=185)) == 0
    assert udp_payload_start(ipv4(UDP, udp(b"first"), fragment=0x2000)) == 0
    assert udp_payload_start(ipv4(UDP, b"short")) == 0


@given(payload=st.binary(max_size=64), protocol=st.sampled_from([UDP, TCP, ICMP]))
def test_a_mended_checksum_is_right(payload: bytes, protocol: int) -> None:
    bodies = {UDP: udp(payload, 0xBEEF), TCP: tcp(payload), ICMP: b"\x08\0\x12\x34" + bytes(4) + payload}
    packet = mended(ipv4(protocol, bodies[protocol]))
    assert reference_sum(packet, pseudo=protocol != ICMP) == 0xFFFF
    start = payload_start(packet)
    assert packet[start:] == payload


def test_a_fragment_keeps_what_it_has() -> None:
    fragment = ipv4(UDP, udp(b"first", 0xBEEF), fragment=0x2000)
    assert mended(fragment) == fragment


@given(st.binary(min_size=0, max_size=80))
def test_any_octets_can_be_asked_about(octets: bytes) -> None:
    if is_ipv4(octets):
        assert (octets[0] & 15) * 4 <= payload_start(octets) <= len(octets)
        assert 0 <= damage_start(octets) <= len(octets)
        assert 0 <= udp_payload_start(octets) <= len(octets)
        assert len(mended(octets)) == len(octets)
