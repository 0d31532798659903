"""What a user may write to name a remote file, and the one value it becomes.

The rules, in the order in which they are tried:

1. `scheme://...` is a URL (RFC 3617): `tftp://host[:port]/path[;mode=octet|netascii]`, `tftp+tcp://` and `tftp+tls://`
   with the same shape, `tftp+unix:///socket:path`. The path is percent-decoded; `?` and `#` are ordinary characters,
   because TFTP has neither queries nor fragments. `tftp://host/a` asks for `a`, `tftp://host//a` for `/a`.
2. `host:port/path` when what follows the colon is digits and then a slash.
3. `host:path` otherwise, the path taken as it stands: no decoding, no `;mode=`, a leading slash kept.

So `host:69/a` is the file `a` at port 69; whoever means a file `69/a` at the usual port writes `tftp://host/69/a`.
An IPv6 address always stands in brackets, with its zone if it needs one: `[fe80::1%eth0]:name`.

Everything that is not an address raises `AddressError`, whose text says what to write instead. This file resolves no
names and opens nothing.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, replace
from enum import Enum
from typing import Final

import click

from blockstep.protocol.wire import printable_untrusted

__all__ = ["DEFAULT_PORT", "MODES", "AddressError", "Target", "Transport", "parse_target"]

DEFAULT_PORT: Final = 69
MODES: Final = ("octet", "netascii")


class AddressError(click.UsageError):
    """The text names no remote file; the message says what to write instead (exit code 2)."""


class Transport(Enum):
    """What carries the packets."""

    UDP = "udp"
    TCP = "tcp"
    TLS = "tls"
    UNIX = "unix"


@dataclass(frozen=True, slots=True)
class Target:
    """A remote file, or a remote directory when `path` is empty or ends with a slash.

    `host` is a name or an address without brackets; for `Transport.UNIX` it is the path of the socket and `port` is 0.
    `path` is what goes on the wire: UTF-8 with surrogateescape, no NUL. `mode` is None when the address named none.
    """

    transport: Transport
    host: str
    port: int
    path: str
    mode: str | None = None

    @property
    def is_directory(self) -> bool:
        """Whether a name has to be appended before this is a file."""
        return not self.path or self.path.endswith("/")

    @property
    def base_name(self) -> str:
        """The last part of the path, "" for a directory. Servers take a backslash as a slash, so it separates too."""
        return re.split(r"[/\\]", self.path)[-1]

    def child(self, name: str) -> Target:
        """The file `name` in this directory."""
        return replace(self, path=self.path + name)

    def over_stream(self, *, tls: bool) -> Target:
        """The same file over TCP, or TLS; a UNIX socket stays what it is, and TLS stays TLS."""
        if self.transport in (Transport.UNIX, Transport.TLS):
            return self
        return replace(self, transport=Transport.TLS if tls else Transport.TCP)

    def __str__(self) -> str:
        """Short and safe to print; for messages, not for parsing."""
        if self.transport is Transport.UNIX:
            return printable_untrusted(f"tftp+unix://{self.host}:{self.path}")
        host = f"[{self.host}]" if ":" in self.host else self.host
        prefix = "" if self.transport is Transport.UDP else f"tftp+{self.transport.value}://"
        separator = ":" if self.port == DEFAULT_PORT and not prefix else f":{self.port}/"
        return printable_untrusted(f"{prefix}{host}{separator}{self.path}")


def parse_target(text: str) -> Target:
    """The target that `text` names, by the rules at the top of this file. Raises AddressError, nothing else."""
    scheme, found, rest = text.partition("://")
    if found and _SCHEME.fullmatch(scheme):
        target = _parse_url(scheme.lower(), rest, text)
    else:
        target = _parse_short(text)
    _check_path(target.path, text)
    return target


_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*")
_SCHEMES: Final = {
    "tftp": Transport.UDP,
    "tftp+tcp": Transport.TCP,
    "tftp+tls": Transport.TLS,
    "tftp+unix": Transport.UNIX,
}
_MODE_SUFFIX: Final = re.compile(r"(.*);mode=([^;/]*)", re.IGNORECASE | re.DOTALL)
_BRACKETED: Final = re.compile(r"\[([^\]]*)\](.*)", re.DOTALL)
_PORT_AND_PATH: Final = re.compile(r"([0-9]+)/(.*)", re.DOTALL)
_BAD_PERCENT: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
_PERCENT: Final = re.compile(rb"%([0-9A-Fa-f]{2})")
_BAD_HOST: Final = re.compile(r"[\x00-\x20\x7f-\xa0\ud800-\udfff\[\]/\\@%]")
_UNIX_PATH_LIMIT: Final = 107  # bytes in sockaddr_un, less the final NUL


def _parse_url(scheme: str, rest: str, text: str) -> Target:
    if scheme not in _SCHEMES:
        raise AddressError(f"{_shown(text)}: unknown scheme; use {', '.join(f'{name}://' for name in _SCHEMES)}.")
    rest, mode = _split_mode(rest, text)
    if _SCHEMES[scheme] is Transport.UNIX:
        return _parse_unix(rest, mode, text)
    authority, slash, path = rest.partition("/")
    if not slash:
        raise AddressError(f"{_shown(text)}: no path; write {scheme}://HOST/PATH.")
    host, port = _split_authority(authority, text)
    return Target(_SCHEMES[scheme], host, port, _percent_decoded(path, text), mode)


def _parse_unix(rest: str, mode: str | None, text: str) -> Target:
    socket_path, colon, path = rest.partition(":")
    socket_path = _percent_decoded(socket_path, text)
    if not colon or not socket_path.startswith("/"):
        raise AddressError(f"{_shown(text)}: write tftp+unix:///SOCKET:PATH (a colon in SOCKET is %3A).")
    if "\0" in socket_path or len(_as_bytes(socket_path, text)) > _UNIX_PATH_LIMIT:
        raise AddressError(f"{_shown(text)}: a socket's path holds at most {_UNIX_PATH_LIMIT} bytes and no NUL.")
    return Target(Transport.UNIX, socket_path, 0, _percent_decoded(path, text), mode)


def _parse_short(text: str) -> Target:
    bracketed = _BRACKETED.fullmatch(text)
    if bracketed:
        host, colon, rest = _ipv6(bracketed[1], text), bracketed[2][:1], bracketed[2][1:]
    else:
        _refuse_bare_ipv6(text)
        host, colon, rest = text.partition(":")
    if colon != ":":
        raise AddressError(f"{_shown(text)}: not a remote file; write HOST:PATH or tftp://HOST/PATH.")
    if not bracketed:
        _check_host(host, text)
    port = DEFAULT_PORT
    numbered = _PORT_AND_PATH.fullmatch(rest)
    if numbered:
        port, rest = _port(numbered[1], text), numbered[2]
    return Target(Transport.UDP, host, port, rest)


def _split_authority(authority: str, text: str) -> tuple[str, int]:
    bracketed = _BRACKETED.fullmatch(authority)
    if bracketed:
        host, rest = _ipv6(bracketed[1].replace("%25", "%", 1), text), bracketed[2]  # RFC 6874
        if rest and not rest.startswith(":"):
            raise AddressError(f"{_shown(text)}: after the closing bracket comes :PORT or the path.")
        digits = rest[1:]
    else:
        _refuse_bare_ipv6(authority)
        host, _, digits = authority.partition(":")
        host = _percent_decoded(host, text)
        _check_host(host, text)
    return host, _port(digits, text) if digits else DEFAULT_PORT


def _split_mode(rest: str, text: str) -> tuple[str, str | None]:
    suffix = _MODE_SUFFIX.fullmatch(rest)
    if not suffix:
        return rest, None
    if suffix[2].lower() not in MODES:
        raise AddressError(f"{_shown(text)}: the mode is octet or netascii (a literal ; in a name is %3B).")
    return suffix[1], suffix[2].lower()


def _port(digits: str, text: str) -> int:
    significant = digits.lstrip("0")
    if not re.fullmatch("[0-9]{1,5}", significant) or int(significant) > 65535:
        raise AddressError(f"{_shown(text)}: a port is a number from 1 to 65535.")
    return int(significant)


def _ipv6(literal: str, text: str) -> str:
    try:
        address = ipaddress.IPv6Address(literal)
    except ValueError:
        raise AddressError(f"{_shown(text)}: no IPv6 address between the brackets.") from None
    if _BAD_HOST.search(address.scope_id or ""):
        raise AddressError(f"{_shown(text)}: the zone after % is the name of a network interface.")
    if address.is_link_local and address.scope_id is None:
        raise AddressError(f"{_shown(text)}: a link-local address needs its zone, as in [{address}%eth0].")
    return str(address)


def _check_host(host: str, text: str) -> None:
    if not host:
        raise AddressError(f"{_shown(text)}: no host; write HOST:PATH or tftp://HOST/PATH.")
    if "@" in host:
        raise AddressError(f"{_shown(text)}: TFTP knows no users; write the host alone.")
    if "/" in host or "\\" in host:
        raise AddressError(f"{_shown(text)}: looks like a local file; a remote one is HOST:PATH or tftp://HOST/PATH.")
    if _BAD_HOST.search(host):
        raise AddressError(f"{_shown(text)}: the host holds a character that no host name has.")


def _refuse_bare_ipv6(text: str) -> None:
    """`2001:db8::1:name` would otherwise be the file `db8::1:name` on the host 2001."""
    for cut in _cuts(text):
        try:
            address = ipaddress.IPv6Address(text[:cut])
        except ValueError:
            continue
        raise AddressError(f"{_shown(text)}: an IPv6 address stands in brackets: [{_shown(str(address))}]:PATH.")


def _cuts(text: str) -> list[int]:
    colons = [match.start() for match in re.finditer(":", text[:64])]
    return [*colons[1:], len(text)]


def _percent_decoded(path: str, text: str) -> str:
    if _BAD_PERCENT.search(path):
        raise AddressError(f"{_shown(text)}: after % come two hexadecimal digits; a literal % is %25.")
    octets = _PERCENT.sub(lambda match: bytes([int(match[1], 16)]), _as_bytes(path, text))
    return octets.decode("utf-8", "surrogateescape")


def _check_path(path: str, text: str) -> None:
    if b"\0" in _as_bytes(path, text):
        raise AddressError(f"{_shown(text)}: a TFTP name cannot hold a NUL.")


def _as_bytes(path: str, text: str) -> bytes:
    try:
        return path.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise AddressError(f"{_shown(text)}: the name has no bytes that could be sent.") from None


def _shown(text: str) -> str:
    return printable_untrusted(text, 120)
