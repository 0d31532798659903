from __future__ import annotations

import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blockstep_lab.endpoints import Endpoint, format_address, parse_endpoint
from blockstep_lab.words import WordsError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("127.0.0.1:6969", Endpoint("127.0.0.1", 6969)),
        ("[::1]:69", Endpoint("::1", 69)),
        ("[fe80::1%eth0]:69", Endpoint("fe80::1%eth0", 69)),
        ("boot.example:0", Endpoint("boot.example", 0)),
        (":6969", Endpoint("127.0.0.1", 6969)),
        ("6969", Endpoint("127.0.0.1", 6969)),
    ],
)
def test_addresses_are_read(text: str, expected: Endpoint) -> None:
    assert parse_endpoint(text) == expected


def test_a_default_port_may_be_left_out() -> None:
    assert parse_endpoint("boot.example", 69) == Endpoint("boot.example", 69)
    assert parse_endpoint("[::1]", 69) == Endpoint("::1", 69)


@pytest.mark.parametrize(
    "text", ["", "host", "host:", "host:x", "host:99999", "host:٦٩", "a b:1", "[::1:69", "host:123456"]
)
def test_anything_else_is_a_clear_error(text: str) -> None:
    with pytest.raises(WordsError):
        parse_endpoint(text)


def test_a_bare_ipv6_address_is_told_about_brackets() -> None:
    with pytest.raises(WordsError, match=r"did you mean '\[::1\]:69'"):
        parse_endpoint("::1")


@given(st.text())
def test_any_text_is_an_address_or_a_clear_error(text: str) -> None:
    try:
        endpoint = parse_endpoint(text)
    except WordsError:
        return
    assert parse_endpoint(str(endpoint)) == endpoint


def test_numeric_addresses_resolve_to_themselves() -> None:
    assert Endpoint("127.0.0.1", 69).resolve_udp() == (socket.AF_INET, ("127.0.0.1", 69))
    family, address = Endpoint("::1", 69).resolve_udp()
    assert family == socket.AF_INET6
    assert format_address(address) == "[::1]:69"
