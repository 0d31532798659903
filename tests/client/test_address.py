from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from blockstep_client.address import AddressError, Target, Transport, parse_target

GOOD = [
    ("host:name", ("host", 69, "name", None)),
    ("host:", ("host", 69, "", None)),
    ("host:dir/name", ("host", 69, "dir/name", None)),
    ("host:/abs/name", ("host", 69, "/abs/name", None)),
    ("host:6969/name", ("host", 6969, "name", None)),
    ("127.0.0.1:6969/name", ("127.0.0.1", 6969, "name", None)),
    ("host:6969//name", ("host", 6969, "/name", None)),
    ("host:6969/", ("host", 6969, "", None)),
    ("host:00069/a", ("host", 69, "a", None)),
    ("host:6969", ("host", 69, "6969", None)),
    ("host:69x/name", ("host", 69, "69x/name", None)),
    ("host:a%20b;mode=octet", ("host", 69, "a%20b;mode=octet", None)),
    ("host:a:b", ("host", 69, "a:b", None)),
    ("[::1]:name", ("::1", 69, "name", None)),
    ("[::1]:6969/name", ("::1", 6969, "name", None)),
    ("[fe80::1%eth0]:name", ("fe80::1%eth0", 69, "name", None)),
    ("tftp://host/name", ("host", 69, "name", None)),
    ("TFTP://host/name", ("host", 69, "name", None)),
    ("tftp://host:/name", ("host", 69, "name", None)),
    ("tftp://host:6969/dir/name", ("host", 6969, "dir/name", None)),
    ("tftp://host//abs", ("host", 69, "/abs", None)),
    ("tftp://host/69/a", ("host", 69, "69/a", None)),
    ("tftp://host/a%20b%2Fc", ("host", 69, "a b/c", None)),
    ("tftp://host/a%ff", ("host", 69, "a\udcff", None)),
    ("tftp://host/a?b#c", ("host", 69, "a?b#c", None)),
    ("tftp://host/name;mode=netascii", ("host", 69, "name", "netascii")),
    ("tftp://host/name;MODE=Octet", ("host", 69, "name", "octet")),
    ("tftp://host/a;b", ("host", 69, "a;b", None)),
    ("tftp://host/name%3Bmode=octet", ("host", 69, "name;mode=octet", None)),
    ("tftp://[::1]/name", ("::1", 69, "name", None)),
    ("tftp://[::1]:6969/name", ("::1", 6969, "name", None)),
    ("tftp://[fe80::1%25eth0]/name", ("fe80::1%eth0", 69, "name", None)),
    ("tftp://[fe80::1%eth0]/name", ("fe80::1%eth0", 69, "name", None)),
    ("tftp://h%6fst/name", ("host", 69, "name", None)),
]

BAD = [
    ("", "not a remote file"),
    ("name", "not a remote file"),
    ("/etc/motd", "not a remote file"),
    (":name", "no host"),
    ("dir/file:name", "local file"),
    ("user@host:name", "no users"),
    ("ho st:name", "no host name"),
    ("host:70000/name", "from 1 to 65535"),
    ("host:0/name", "from 1 to 65535"),
    ("host:" + "9" * 5000 + "/name", "from 1 to 65535"),
    ("host:a\0b", "NUL"),
    ("::1", "[::1]:PATH"),
    ("::1:name", "[::1]:PATH"),
    ("2001:db8::1:name", "[2001:db8::1]:PATH"),
    ("[::1]name", "not a remote file"),
    ("[nonsense]:name", "no IPv6 address"),
    ("[127.0.0.1]:name", "no IPv6 address"),
    ("[fe80::1%a b]:name", "network interface"),
    ("[fe80::1]:name", "[fe80::1%eth0]"),
    ("tftp://[fe80::1]/name", "[fe80::1%eth0]"),
    ("http://host/name", "unknown scheme"),
    ("tftp://host", "no path"),
    ("tftp:///name", "no host"),
    ("tftp://host:x/name", "from 1 to 65535"),
    ("tftp://host:٦٩/name", "from 1 to 65535"),
    ("tftp://host/a%2", "two hexadecimal digits"),
    ("tftp://host/a%zz", "two hexadecimal digits"),
    ("tftp://host/a%00b", "NUL"),
    ("tftp://host/name;mode=mail", "octet or netascii"),
    ("tftp://host/name;mode=", "octet or netascii"),
    ("tftp://user:secret@host/name", "from 1 to 65535"),
    ("tftp://user@host/name", "no users"),
    ("tftp://::1/name", "[::1]:PATH"),
    ("tftp://[::1]x/name", "closing bracket"),
    ("tftp+unix://run/x.sock:name", "tftp+unix:///SOCKET:PATH"),
    ("tftp+unix:///run/x.sock", "tftp+unix:///SOCKET:PATH"),
    ("tftp+unix:///" + "x" * 107 + ":name", "107 bytes"),
    ("tftp://host/\ud800", "no bytes"),
]


@pytest.mark.parametrize(("text", "expected"), GOOD, ids=[text for text, _ in GOOD])
def test_a_name_becomes_a_target(text: str, expected: tuple[str, int, str, str | None]) -> None:
    assert parse_target(text) == Target(Transport.UDP, *expected)


@pytest.mark.parametrize(("text", "said"), BAD, ids=[ascii(text[:40]) for text, _ in BAD])
def test_anything_else_says_what_to_write(text: str, said: str) -> None:
    with pytest.raises(AddressError) as caught:
        parse_target(text)
    assert said in caught.value.message
    assert caught.value.exit_code == 2
    assert len(caught.value.message) < 300


def test_the_stream_transports_have_schemes() -> None:
    assert parse_target("tftp+tcp://host:7000/a;mode=octet") == Target(Transport.TCP, "host", 7000, "a", "octet")
    assert parse_target("tftp+tls://host/a") == Target(Transport.TLS, "host", 69, "a")
    assert parse_target("tftp+unix:///run/x.sock:dir/a") == Target(Transport.UNIX, "/run/x.sock", 0, "dir/a")
    assert parse_target("tftp+unix:///run/a%3Ab:c:d") == Target(Transport.UNIX, "/run/a:b", 0, "c:d")


def check_target_or_sentence(text: str) -> None:
    try:
        target = parse_target(text)
    except AddressError as error:
        sentence = error.message
    else:
        assert target.host
        assert target.transport is Transport.UNIX or 1 <= target.port <= 65535
        assert "\0" not in target.path
        target.path.encode("utf-8", "surrogateescape")
        sentence = str(target)
    assert sentence.isprintable()


@given(st.text(alphabet=st.characters(), max_size=60) | st.text(alphabet=":/[]%;=@.0129afht\\\x1b\0 ", max_size=40))
@example("[fe80::1%\x1b[2J]:name")
@example("fe80::1%\x1b[2J:name")
def test_any_text_is_a_target_or_a_printable_usage_error(text: str) -> None:
    for prefix in ("", "tftp://", "tftp+unix:///", "tftp://[", "host:", "["):
        check_target_or_sentence(prefix + text)


@given(st.binary(min_size=1, max_size=40).filter(lambda name: b"\0" not in name))
def test_every_name_can_be_said_in_percent_code(name: bytes) -> None:
    target = parse_target("tftp://host/" + "".join(f"%{octet:02X}" for octet in name))
    assert target.path.encode("utf-8", "surrogateescape") == name


@pytest.mark.parametrize(
    "text", ["host:a/b", "host:7000/a", "[::1]:a", "[fe80::1%eth0]:7000/a", "host:/a", "tftp+tcp://host:69/a"]
)
def test_what_is_printed_can_be_typed_again(text: str) -> None:
    assert str(parse_target(text)) == text


@pytest.mark.parametrize(
    ("path", "directory", "base"),
    [
        ("", True, ""),
        ("a/", True, ""),
        ("a", False, "a"),
        ("a/b", False, "b"),
        ("a\\b", False, "b"),
        ("..", False, ".."),
    ],
)
def test_a_path_is_a_directory_or_has_a_base_name(path: str, directory: bool, base: str) -> None:
    target = Target(Transport.UDP, "host", 69, path)
    assert (target.is_directory, target.base_name) == (directory, base)


def test_a_child_stands_in_its_directory() -> None:
    assert parse_target("host:dir/").child("a").path == "dir/a"
    assert parse_target("host:").child("a").path == "a"


@pytest.mark.parametrize(
    ("text", "tls", "transport"),
    [
        ("h:a", False, Transport.TCP),
        ("h:a", True, Transport.TLS),
        ("tftp+tcp://h/a", True, Transport.TLS),
        ("tftp+tls://h/a", False, Transport.TLS),
        ("tftp+unix:///s:a", True, Transport.UNIX),
    ],
)
def test_a_flag_moves_an_address_to_a_stream(text: str, tls: bool, transport: Transport) -> None:
    target = parse_target(text)
    assert target.over_stream(tls=tls) == replace(target, transport=transport)
