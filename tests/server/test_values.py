from __future__ import annotations

import contextlib
from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blockstep.protocol.errors import LocalError
from blockstep_server.values import (
    Bind,
    PortRange,
    parse_bind,
    parse_mode,
    parse_mtu,
    parse_network,
    parse_port_range,
    parse_size,
    parse_tcp,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("127.0.0.1", Bind("127.0.0.1")),
        ("127.0.0.1:6969", Bind("127.0.0.1", 6969)),
        ("boot.example:0", Bind("boot.example", 0)),
        ("::1", Bind("::1")),
        ("[::1]", Bind("::1")),
        ("[::1]:6969", Bind("::1", 6969)),
        ("fe80::1%eth0", Bind("fe80::1%eth0")),
        (":6969", Bind("", 6969)),
        ("*", Bind("")),
        ("*:6969", Bind("", 6969)),
    ],
)
def test_addresses(text: str, expected: Bind) -> None:
    assert parse_bind(text) == expected


@pytest.mark.parametrize("text", ["", "a b", "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:65536", "[::1]:-1", "h:٦٩"])
def test_addresses_that_are_none(text: str) -> None:
    with pytest.raises(LocalError, match="write"):
        parse_bind(text)


@pytest.mark.parametrize("text", ["127.0.0.1:6969", "[::1]:6969", "[::1]", "*:69"])
def test_an_address_is_printed_as_it_is_written(text: str) -> None:
    assert str(parse_bind(text)) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", 0),
        ("500000", 500_000),
        ("10k", 10 * 1024),
        ("10M", 10 * 1024**2),
        ("10MiB", 10 * 1024**2),
        ("10MB", 10_000_000),
        ("1GiB", 1024**3),
        ("1 g", 1024**3),
        ("2T", 2 * 1024**4),
        ("7b", 7),
    ],
)
def test_sizes(text: str, expected: int) -> None:
    assert parse_size(text) == expected


@pytest.mark.parametrize("text", ["", "M", "-1", "1.5G", "1e3", "10X", "1_000", "٣M", "9" * 30])
def test_sizes_that_are_none(text: str) -> None:
    with pytest.raises(LocalError, match="for example"):
        parse_size(text)


def test_port_ranges() -> None:
    assert parse_port_range("50000:50999") == parse_port_range("50000-50999") == PortRange(50000, 50999)
    assert len(PortRange(5, 5)) == 1


@pytest.mark.parametrize("text", ["", "1", "2:1", "0:5", "1:65536", "1:2:3", "a:b"])
def test_port_ranges_that_are_none(text: str) -> None:
    with pytest.raises(LocalError, match="port range"):
        parse_port_range(text)


def test_networks() -> None:
    assert parse_network("192.0.2.0/24") == ip_network("192.0.2.0/24")
    assert parse_network("2001:db8::1") == ip_network("2001:db8::1/128")
    with pytest.raises(LocalError, match="host bits"):
        parse_network("192.0.2.1/24")


def test_mtu() -> None:
    assert parse_mtu("auto") == "auto"
    assert parse_mtu("1500") == 1500
    for text in ("", "67", "65536", "-1", "1e3"):
        with pytest.raises(LocalError, match="MTU"):
            parse_mtu(text)


def test_tcp() -> None:
    assert parse_tcp("6970") == parse_tcp(":6970") == parse_tcp("*:6970") == Bind("", 6970)
    assert parse_tcp("127.0.0.1:0") == Bind("127.0.0.1", 0)
    assert parse_tcp("[::1]:6970") == Bind("::1", 6970)
    for text, said in (("127.0.0.1", "has no port"), ("::1", "has no port"), ("65536", "is no port")):
        with pytest.raises(LocalError, match=said):
            parse_tcp(text)


def test_permissions() -> None:
    assert parse_mode("660") == parse_mode("0660") == 0o660
    for text in ("", "6", "888", "1777", "rw-", "0o660", "\u0666\u0666\u0660"):
        with pytest.raises(LocalError, match="three octal digits"):
            parse_mode(text)


PARSERS = [parse_bind, parse_size, parse_port_range, parse_network, parse_mtu, parse_tcp, parse_mode]


@given(st.text(max_size=30), st.sampled_from(PARSERS))
def test_any_text_is_a_value_or_a_local_error(text: str, parse: object) -> None:
    assert callable(parse)
    with contextlib.suppress(LocalError):
        parse(text)
