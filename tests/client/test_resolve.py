from __future__ import annotations

import socket

import pytest

from blockstep_client.errors import CannotResolve
from blockstep_client.resolve import Address, resolve


def test_an_address_is_itself() -> None:
    assert resolve("127.0.0.1", 69) == [Address(socket.AF_INET, ("127.0.0.1", 69))]
    assert [str(address) for address in resolve("127.0.0.1", 6969)] == ["127.0.0.1:6969"]


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6 in this Python")
def test_an_ipv6_address_is_printed_in_brackets() -> None:
    assert [str(address) for address in resolve("::1", 6969)] == ["[::1]:6969"]


@pytest.mark.parametrize(
    ("host", "family", "said"),
    [
        ("127.0.0.1", socket.AF_INET6, "127.0.0.1 has no IPv6 address"),
        ("::1", socket.AF_INET, "::1 has no IPv4 address"),
        ("a" * 70, socket.AF_UNSPEC, "not a host name"),
        ("a..b", socket.AF_UNSPEC, "not a host name"),
        ("x\x1b[2J\0", socket.AF_UNSPEC, r"\x1b"),
    ],
)
def test_what_has_no_address_says_so(host: str, family: socket.AddressFamily, said: str) -> None:
    with pytest.raises(CannotResolve) as caught:
        resolve(host, 69, family)
    assert said in str(caught.value)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("number", "said"), [(socket.EAI_NONAME, "has no address"), (socket.EAI_AGAIN, "name server did not answer")]
)
def test_a_silent_name_server_is_told_from_a_wrong_name(
    monkeypatch: pytest.MonkeyPatch, number: int, said: str
) -> None:
    def fail(*_args: object) -> None:
        raise socket.gaierror(number, "the C library's words")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    with pytest.raises(CannotResolve, match=said):
        resolve("host", 69)


def test_the_same_address_is_tried_once(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = (socket.AF_INET, socket.SOCK_DGRAM, 17, "", ("192.0.2.1", 69))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_args: [entry, entry])
    assert len(resolve("host", 69)) == 1
